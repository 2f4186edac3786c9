// Package handlers is the contract between the port and the protocols that it serves.
//
// A protocol is a [Handler]. The port calls Serve with a [Conn] whose first bytes a matcher has
// recognised and nobody has read. The handler then does one of three things:
//
//   - it gives the connection and a [Codec] to the loop with [Port.Attach], and is done with it
//     (raw TCP, WebSocket);
//   - it drives the connection itself and announces each client with [Port.Connect] (HTTP: every
//     request is a client);
//   - it unwraps a layer and asks the port to decide again with [Port.Route] (TLS).
//
// The package needs the standard library only, so that a protocol in a module of its own depends on
// nothing else.
package handlers

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"reflect"
)

// Errors that end a client. A codec's farewell ([Codec.AppendClose]) tells the peer which it was.
var (
	// ErrTooLong means that a message is longer than the limit: 413, close 1009, an error line.
	ErrTooLong = errors.New("message too long")
	// ErrProtocol means that the peer broke the rules of its protocol: 400, close 1002.
	ErrProtocol = errors.New("protocol error")
	// ErrInvalidText means that a text message is not UTF-8: close 1007.
	ErrInvalidText = errors.New("text is not valid UTF-8")
	// ErrPolicy means that the server refuses this client: 403, close 1008.
	ErrPolicy = errors.New("refused")
	// ErrPanic means that a callback of the program panicked: 500, close 1011.
	ErrPanic = errors.New("callback panicked")
	// ErrStalled means that the client stopped before its first bytes showed its protocol, or
	// before the head of a request was whole: 408.
	ErrStalled = errors.New("the client stopped before its first message was whole")
	// ErrTimeout means that the client was idle for too long.
	ErrTimeout = errors.New("idle timeout")
	// ErrSlow means that the client does not read what is sent to it: close 1013.
	ErrSlow = errors.New("client reads too slowly")
	// ErrOverload means that the memory for messages that are not whole is used up ([Budget]): 503,
	// close 1013, an error line.
	ErrOverload = errors.New("too many unfinished messages, try again later")
	// ErrShutdown means that the server is going away: close 1001.
	ErrShutdown = errors.New("server is shutting down")
	// ErrClosed is returned by the methods of a [Stream] that was ended, by either side.
	ErrClosed = errors.New("client is closed")
)

// A Handler serves one protocol on the connections that are routed to it. Serve may be called by
// several goroutines at once. It owns c from then on and must return soon: a handler that waits for
// the peer does so in a goroutine started with [Port.Go]. A panic in Serve costs c only.
type Handler interface {
	Serve(c Conn, p Port)
}

// HandlerFunc is a func that is a [Handler].
type HandlerFunc func(c Conn, p Port)

// Serve calls f.
func (f HandlerFunc) Serve(c Conn, p Port) { f(c, p) }

// IsNil reports whether v is nil, or a nil pointer or func in an interface: a handler, a listener
// or anything else of a program that was never made. Who is given one says so at once.
func IsNil(v any) bool {
	r := reflect.ValueOf(v)
	return v == nil || (r.Kind() == reflect.Pointer || r.Kind() == reflect.Func) && r.IsNil()
}

// Refuse is a Handler that closes every connection without a word.
var Refuse Handler = refuse{}

type refuse struct{}

func (refuse) Serve(c Conn, _ Port) { c.Close() }

// A Conn is a connection whose protocol is decided and of which no byte has been read. Its methods
// may be called by several goroutines at once.
type Conn interface {
	// Info says what the port knows of the connection. The caller must not change it.
	Info() *Info
	// NetConn makes the net.Conn at the first call and returns the same one at each later call: a
	// *net.TCPConn for TCP, a *net.UnixConn for a Unix socket, a *tls.Conn inside TLS.
	NetConn() (net.Conn, error)
	// Close closes the connection, whatever form it has by now, and gives its place (MaxConns)
	// back. A handler that neither attaches nor routes its connection calls Close when it has
	// finished, also after closing the net.Conn itself. The second call does nothing.
	Close() error
}

// A LazyConn is a [Conn] that has a net.Conn which is cheaper to make: it makes the one of NetConn
// when it first has to wait for the peer, or when NetConn is called, and then stands for that.
type LazyConn interface {
	Conn
	// LazyNetConn returns that net.Conn, or the one of NetConn. It is called once.
	LazyNetConn() (net.Conn, error)
}

// A Detacher is a [Conn] that can be let go while its socket lives on: all that is left of it is
// its place.
type Detacher interface {
	Conn
	// Detach gives the socket to the caller, who has taken it and closes it, and returns what gives
	// the place (MaxConns) back when it is closed, once. Close does nothing from then on, and
	// nothing else may be called.
	Detach() (place io.Closer)
}

// A Port is what a handler may ask of the port. Its methods may be called by several goroutines at
// once.
type Port interface {
	// Attach gives c to the loop, which reads it, decodes the bytes with a.Codec, raises the
	// events, writes the replies and closes c. The handler is done with c.
	Attach(c Conn, a Attachment)
	// Connect announces a client that the handler drives itself: OnConnect runs before it returns.
	// s is where its replies go. It returns an error, and there was no event, when the port is
	// closing.
	Connect(info *Info, s Stream) (Client, error)
	// Fail reports a connection or request that failed before it became a client: OnError.
	Fail(info *Info, err error)
	// Route decides c again, from the first byte of an inner layer (TLS). The handler is done with
	// c.
	Route(c Conn)
	// Go runs f in a goroutine that the port waits for before Shutdown returns.
	Go(f func())
}

// An Attachment is what the loop needs to drive a connection.
type Attachment struct {
	Codec Codec
	// Info replaces the connection's own when it is not nil: an upgrade knows its request.
	Info *Info
	// Unread is what was read from the connection already; Decode sees it first.
	Unread []byte
	// Handshake means that the client is not connected yet: the codec calls [Messages.Connect] when
	// it is. Until then the port's handshake deadline holds and a failure is an OnError. Without it
	// OnConnect runs at once.
	Handshake bool
}

// A Client is the hub's side of a client that its handler drives itself. One goroutine at a time
// may call it.
type Client interface {
	// Message runs OnMessage and returns after it. It returns [ErrPanic] when the callback
	// panicked, and [ErrClosed], without an event, when the program destroyed the client.
	Message(m Message) error
	// Disconnect runs OnDisconnect; err is nil when the client left in good order. The second call
	// does nothing.
	Disconnect(err error)
}

// A Stream takes what the program sends to one client. Its methods may be called by any goroutine
// at any time; they return [ErrClosed] once the stream was ended.
type Stream interface {
	// Write sends p as it is; on a protocol that has only messages it sends one of that kind. It
	// waits while the client's queue is full.
	Write(p []byte, k Kind) (int, error)
	// Send sends one message, framed as the protocol frames messages. It waits while the client's
	// queue is full.
	Send(p []byte, k Kind) error
	// TrySend is Send that never waits: it returns [ErrSlow] and sends nothing when the client's
	// queue is full.
	TrySend(p []byte, k Kind) error
	// End sends the protocol's farewell (the end of the response, close 1000, FIN) after all that
	// was written.
	End() error
	// Destroy closes at once; what was not sent yet, and the peer's side does not take at once, is
	// lost.
	Destroy()
}

// A Response is a [Stream] that is the answer to an HTTP request.
type Response interface {
	Stream
	// DoneAfterWrite postpones the end of the response until after the next write.
	DoneAfterWrite()
	// Done ends the response. The connection may go on.
	Done() error
	// Header is the header of the response, to be changed before the first write.
	Header() http.Header
	// WriteHeader starts the response with this status. The second call does nothing.
	WriteHeader(status int)
}

// A Handshaker is a [Port] that says when it gives up handshakes.
type Handshaker interface {
	Port
	// HandshakeContext is done, for [ErrShutdown], when a port that shuts down waits no longer for
	// what has not become a client, and when it closes. That is later than ShuttingDown: what
	// clients have sent before is still served.
	HandshakeContext() context.Context
}

// An ErrorLogger logs what goes wrong beside the clients of a port. The port of a portluck server
// is one, and so is the server itself, for handlers on ports of their own.
type ErrorLogger interface {
	// LogError logs err, not too often, without the words of a peer: a *[PanicError] with its
	// stack, unless it has been logged. info is nil if err is not about one peer. Several
	// goroutines call it at once. It must not block.
	LogError(info *Info, err error)
}

// Report has p log err, if p is an [ErrorLogger], and calls onError, if that is not nil, whose
// panic is logged too. So each error of a handler goes to the OnError of the program, and is logged
// where there is a logger. p is the port that the handler serves on, or the Log of one on a port of
// its own. A panic that neither gets is logged as by [LogPanic].
func Report(p any, info *Info, err error, onError func()) {
	if logger, ok := p.(ErrorLogger); ok {
		_ = Guard(func() { logger.LogError(info, err) })
	} else if onError == nil {
		LogPanic(p, info, err)
	}
	if onError != nil {
		LogPanic(p, info, Guard(onError))
	}
}

// LogPanic has p log err, if p is an [ErrorLogger] and err a panic. If p is none the standard
// logger does it, with the stack and the type of the value, a few times a second.
func LogPanic(p any, info *Info, err error) {
	panicked, ok := errors.AsType[*PanicError](err)
	if !ok {
		return
	}
	if logger, ok := p.(ErrorLogger); ok {
		_ = Guard(func() { logger.LogError(info, err) })
		return
	}
	strays.log(panicked)
}

// PortContextKey is the key in the context of an HTTP request under which is the [Port] that serves
// it, or another [ErrorLogger]: an http.Handler has it log its errors ([Report]).
var PortContextKey any = portKey{}

type portKey struct{}

// A ShutdownNotifier is a [Port] that says when it begins to shut down, for handlers whose
// connections would not end by themselves: Shutdown waits for what they have started with
// [Port.Go].
type ShutdownNotifier interface {
	Port
	// ShuttingDown is closed when Shutdown or Close begins.
	ShuttingDown() <-chan struct{}
}
