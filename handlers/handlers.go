// Package handlers is the contract between the port and the protocols that it serves.
//
// A protocol is a [Handler]. The port calls Serve with a [Conn] whose first bytes a matcher has
// recognised; the bytes themselves are still unread. The handler then does one of three things:
//
//   - it gives the connection and a [Codec] to the loop with [Port.Attach], and is done with it
//     (raw TCP, WebSocket);
//   - it drives the connection itself and announces each client with [Port.Connect] (HTTP: every
//     request is a client);
//   - it unwraps a layer and asks the port to decide again with [Port.Route] (TLS).
//
// The package imports only the standard library and packages of this module that do, so that a
// protocol in another module depends on nothing else.
package handlers

import (
	"context"
	"errors"
	"net"
	"net/http"
	"reflect"
)

// Errors that end a client. [FarewellOf] says what the peer is told; a codec tells it with
// [Codec.AppendClose].
var (
	// ErrTooLong means that a message is longer than the limit: 413, close 1009, an error line.
	ErrTooLong = errors.New("message too long")
	// ErrProtocol means that the peer broke the rules of its protocol: 400, close 1002.
	ErrProtocol = errors.New("protocol error")
	// ErrInvalidText means that a text message is not UTF-8: close 1007.
	ErrInvalidText = errors.New("text is not valid UTF-8")
	// ErrPolicy means that the server refuses this client: 403, close 1008, an error line.
	ErrPolicy = errors.New("refused")
	// ErrExpired means that the login of the client has ended: 401, close 3000, an error line. A
	// client that logs in again is welcome.
	ErrExpired = errors.New("the login has expired, log in again")
	// ErrPanic means that a callback of the program panicked: 500, close 1011.
	ErrPanic = errors.New("callback panicked")
	// ErrStalled means that the client stopped sending before its first bytes showed its protocol,
	// or before the head of a request was complete: 408.
	ErrStalled = errors.New("the client stopped before its first message was whole")
	// ErrTimeout means that the client was idle for too long.
	ErrTimeout = errors.New("idle timeout")
	// ErrSlow means that the client does not read what is sent to it: close 1013.
	ErrSlow = errors.New("client reads too slowly")
	// ErrOverload means that the memory for incomplete messages is used up ([Budget]): 503, close
	// 1013, an error line.
	ErrOverload = errors.New("too many unfinished messages, try again later")
	// ErrShutdown means that the server is going away: close 1001.
	ErrShutdown = errors.New("server is shutting down")
	// ErrClosed is returned by the methods of a [Stream] that either side has ended.
	ErrClosed = errors.New("client is closed")
)

// A Handler serves one protocol on the connections that are routed to it. Several goroutines may
// call Serve at once. Serve owns c and must return soon: a handler that waits for the peer does so
// in a goroutine started with [Port.Go]. A panic in Serve closes c only.
type Handler interface {
	Serve(c Conn, p Port)
}

// HandlerFunc is a func that is a [Handler].
type HandlerFunc func(c Conn, p Port)

// Serve calls f.
func (f HandlerFunc) Serve(c Conn, p Port) { f(c, p) }

// IsNil reports whether v is nil or holds a nil pointer or func. Functions that take a handler or a
// listener from the program use it to refuse one that was never made.
func IsNil(v any) bool {
	r := reflect.ValueOf(v)
	return v == nil || (r.Kind() == reflect.Pointer || r.Kind() == reflect.Func) && r.IsNil()
}

// Refuse is a Handler that closes every connection without an answer.
var Refuse Handler = refuse{}

type refuse struct{}

func (refuse) Serve(c Conn, _ Port) { c.Close() }

// A Conn is a connection whose protocol is decided and from which no byte has been read. Several
// goroutines may call its methods at once.
type Conn interface {
	// Info returns what the port knows about the connection. The caller must not change it.
	Info() *Info
	// NetConn makes the net.Conn at the first call and returns the same one at later calls: a
	// *net.TCPConn for TCP, a *net.UnixConn for a Unix socket, a *tls.Conn inside TLS. [Detacher]
	// has what costs less.
	NetConn() (net.Conn, error)
	// Close closes the connection and frees its MaxConns slot. A handler that neither attaches nor
	// routes its connection must call Close when it has finished, even if it closed the net.Conn. A
	// second call does nothing.
	Close() error
}

// A Port is the handler's side of a port. Several goroutines may call its methods at once.
type Port interface {
	// Attach gives c to the loop, which reads it, decodes the bytes with a.Codec, calls the
	// program's events, writes the replies and closes c. The handler must not use c any more.
	Attach(c Conn, a Attachment)
	// Connect announces a client that the handler drives itself. It returns after OnConnect. The
	// client's replies go to s. If the port is closing, Connect returns an error without an event.
	Connect(info *Info, s Stream) (Client, error)
	// Fail reports, to OnError, a connection or request that failed before it became a client.
	Fail(info *Info, err error)
	// Route makes the port decide again what c is, from the first byte of an inner layer (TLS). The
	// handler must not use c any more.
	Route(c Conn)
	// Go runs f in a goroutine that the port waits for before Shutdown returns.
	Go(f func())
}

// An Attachment is what the loop needs to drive a connection.
type Attachment struct {
	Codec Codec
	// Info, if not nil, replaces the connection's own. An upgrade uses it to add the request.
	Info *Info
	// Unread holds bytes that were already read from the connection. Decode gets them first.
	Unread []byte
	// Handshake means that the codec announces the client later, with [Messages.Connect]. Until
	// then the port's handshake deadline applies and a failure is reported to OnError. If Handshake
	// is false, OnConnect runs at once.
	Handshake bool
	// Admitted means that the handler has asked the port, or asks it before it announces the client;
	// see [Admitter]. Otherwise Attach asks, before OnConnect and before the handshake of the codec.
	Admitted bool
}

// A Client is the hub's side of a client that its handler drives itself. One goroutine at a time
// may call it.
type Client interface {
	// Message calls OnMessage and returns after it. It returns [ErrPanic] if the callback panicked,
	// and [ErrClosed], without an event, if the program has destroyed the client.
	Message(m Message) error
	// Disconnect calls OnDisconnect. err is nil if the client left in good order. A second call
	// does nothing.
	Disconnect(err error)
}

// A Stream sends data to one client. Any goroutine may call its methods at any time. They return
// [ErrClosed] once the stream has ended.
type Stream interface {
	// Write sends p as it is, or as one message of kind k if the protocol has only messages. It
	// waits while the client's queue is full.
	Write(p []byte, k Kind) (int, error)
	// Send sends one message, framed as the protocol frames messages. It waits while the client's
	// queue is full.
	Send(p []byte, k Kind) error
	// TrySend is like Send but never waits: if the client's queue is full it sends nothing and
	// returns [ErrSlow].
	TrySend(p []byte, k Kind) error
	// End sends the protocol's farewell (the end of the response, close 1000, FIN) after everything
	// written before.
	End() error
	// Destroy closes the stream at once. Queued data that the peer's side does not take at once is
	// lost.
	Destroy()
}

// A Response is a [Stream] that answers an HTTP request.
type Response interface {
	Stream
	// DoneAfterWrite postpones the end of the response until after the next write.
	DoneAfterWrite()
	// Done ends the response. The connection may go on.
	Done() error
	// Header returns the header of the response, which may be changed before the first write.
	Header() http.Header
	// WriteHeader starts the response with status. A second call does nothing.
	WriteHeader(status int)
}

// A Handshaker is a [Port] that tells handlers when to give up handshakes.
type Handshaker interface {
	Port
	// HandshakeContext returns a context that is cancelled, with the cause [ErrShutdown], when the
	// port closes, or shuts down and waits no longer for connections that have not become clients.
	// That is later than ShuttingDown, as the port still serves what was sent before the shutdown.
	HandshakeContext() context.Context
}

// An ErrorLogger logs those errors of handlers that do not end a client. The port of a portluck
// server is one, and so is the server itself, for handlers on ports of their own.
type ErrorLogger interface {
	// LogError logs err at a bounded rate and without payloads. It logs a *[PanicError] with its
	// stack, unless that was logged before. info is nil if err is not about one peer. Several
	// goroutines may call it at once. It must not block.
	LogError(info *Info, err error)
}

// Report logs err with p, if p is an [ErrorLogger], and then calls onError, if it is not nil. A
// panic in onError is logged too. Handlers call Report for each error, so that it reaches both the
// log and the program's OnError. p is the port that the handler serves on, or the handler's Log if
// it has a port of its own. If p is no ErrorLogger and onError is nil, a panic is logged as by
// [LogPanic].
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

// LogPanic logs err if it is a panic, with p if that is an [ErrorLogger]. Otherwise it logs the
// stack and the type of the panic's value with the standard logger, a few times a second at most.
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

// PortContextKey is the context key for the [Port], or another [ErrorLogger], that serves an HTTP
// request. An http.Handler passes the value to [Report].
var PortContextKey any = portKey{}

type portKey struct{}

// A ShutdownNotifier is a [Port] that tells handlers when it begins to shut down. Shutdown waits
// for the goroutines started with [Port.Go], so a handler whose connections do not end by
// themselves must end them then.
type ShutdownNotifier interface {
	Port
	// ShuttingDown returns a channel that is closed when Shutdown or Close begins.
	ShuttingDown() <-chan struct{}
}
