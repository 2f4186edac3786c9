// Package httpd serves HTTP/1.1, HTTP/2 over TLS and HTTP/2 with prior knowledge, with net/http.
//
// Each POST or PUT request is a client of its own. It connects, the lines of its body are its
// messages, what the program writes is the body of the answer, and it disconnects when the answer
// has ended. Requests of other methods are pages. Requests that match a pattern of [Handler.Mux]
// are neither.
//
// A line feed ends a message, which may be empty, and is not part of it. What follows the last line
// feed is a message unless it is empty. The carriage return of a CRLF stays in the message.
package httpd

import (
	"cmp"
	"context"
	"crypto/tls"
	"io"
	"log"
	"math"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/internal/grace"
	"github.com/portluck/portluck/handlers/internal/setting"
)

// Defaults of a [Handler].
const (
	DefaultLimit          = 1 << 20
	DefaultIdleTimeout    = 2 * time.Minute
	DefaultMessageTimeout = 2 * time.Minute
	DefaultHeaderTimeout  = 10 * time.Second
	DefaultParkAfter      = time.Second
)

// A Handler serves HTTP. Its zero value is ready to use. The fields must not be changed once it
// serves. Several goroutines may call its methods at once.
type Handler struct {
	// Hosts lists the names that the Handler answers to, besides localhost and IP addresses; see
	// [handlers.Hosts]. Every request for another name is answered with 421. If Hosts is empty
	// every name is allowed, except on loopback addresses.
	Hosts handlers.Hosts
	// Pages answers requests of methods other than POST, PUT, OPTIONS and CONNECT. If nil they are
	// answered with 405. A connection that Pages hijacks keeps its MaxConns slot until it is
	// closed.
	Pages http.Handler
	// Mux, if not nil, answers the requests of any method that match one of its patterns, before
	// they become clients. The Origin is checked unless the method is GET or HEAD, and the waits
	// for their clients are bounded. Mux does not get WebSocket handshakes, CONNECT, or requests
	// for the target *. For a handler that [OwnCORS] has marked the Origin is not checked.
	Mux *http.ServeMux
	// WebSockets, if not nil, answers the WebSocket handshakes that match one of its patterns,
	// before Upgrade. The Origin is checked as in Mux, for every method.
	WebSockets *http.ServeMux
	// Claim reports whether Pages answers r although its method is POST, PUT or OPTIONS, as for
	// gRPC or an upload. If nil, Pages answers no such request. Claim is also called to make the
	// Allow header of other answers.
	Claim func(r *http.Request) bool
	// Streams, if not nil, returns the http.Handler for a GET request whose answer goes on, such as
	// server-sent events, or nil for other requests. The Origin is checked. The http.Handler must
	// set its own read deadline, and must end when the server shuts down. Streams is also called to
	// make the Allow and Vary headers of other answers, with a GET for events; the http.Handler is
	// not called then.
	Streams func(r *http.Request, info *handlers.Info) http.Handler
	// CheckOrigin reports whether the page that a request comes from may talk to the server. If
	// nil, requests without an Origin and requests from the same origin are allowed.
	CheckOrigin func(r *http.Request) bool
	// Upgrade gets the GET requests that ask for a WebSocket, with their connection. Once Upgrade
	// has hijacked the connection it owns it. If nil, they are treated like any other request.
	Upgrade func(w http.ResponseWriter, r *http.Request, c handlers.Conn, p handlers.Port)
	// Limit is the longest message in bytes; 1 MiB if zero, none if negative. A longer one is
	// answered with 413; with Tail its last Limit bytes are the message.
	Limit int
	Tail  bool
	// Budget bounds the memory of incomplete messages and of heads of more than 4 KiB, for all
	// requests together. A head counts until its request is answered or, after Upgrade, until the
	// connection is closed. If nil, the Handler uses a Budget of its own. A request that would
	// exceed the Budget is answered with 503.
	Budget *handlers.Budget
	// ExplicitDone keeps every answer open until Done.
	ExplicitDone bool
	// IdleTimeout bounds how long a connection may be idle, how long the Handler waits for the body
	// of a request or for the program's Done while nothing is sent, and how long the client may
	// leave sent bytes unread; 2 minutes if zero, no bound if negative.
	IdleTimeout time.Duration
	// MessageTimeout bounds how long a message may take from its first byte to its last; 2 minutes
	// if zero, no bound if negative. The answer is 408. Between two messages of a body only
	// IdleTimeout applies.
	MessageTimeout time.Duration
	// HeaderTimeout bounds how long the head of a request may take, from its first byte; 10 seconds
	// if zero, no bound if negative. The answer of HTTP/1 is 408.
	HeaderTimeout time.Duration
	// FirstTimeout bounds how long a client may be silent after a TLS handshake that has agreed on
	// HTTP. The connection is then closed without an answer. If zero or negative, only
	// HeaderTimeout applies.
	FirstTimeout time.Duration
	// Parker, if not nil, gets the connections of HTTP/1 whose clients are idle for ParkAfter. It
	// must have an idle timeout of its own, which begins then.
	Parker Parker
	// ParkAfter is how long a connection is idle before it goes to Parker; 1 second if zero, never
	// if negative, and an eighth of IdleTimeout at most.
	ParkAfter time.Duration
	// MaxInline bounds the requests that [Idle.Serve] serves, head and body, in bytes; 4 KiB if zero
	// and at most, none if negative.
	MaxInline int
	// MaxHeaderBytes bounds the head of a request; 64 KiB if zero, no bound if negative.
	MaxHeaderBytes int
	// ErrorLog gets the log of net/http, such as panics of Pages and malformed requests. If nil the
	// log is dropped.
	ErrorLog *log.Logger

	once   sync.Once // makes
	any    *http.Server
	http1  *http.Server // of HTTP1
	conns  conns
	delays delays
	own    handlers.Budget // without Budget

	relaysOnce  sync.Once // makes relayServer
	relayServer *http.Server
}

// Bounds of an HTTP/2 connection. A client may have 100 requests at once (RFC 9113, section 6.5.2).
// net/http buffers up to maxUnread of the bodies that are not being read, as while a callback runs,
// and a chunk for each body that is.
const (
	maxStreams = 100
	maxFrame   = 16 << 10
	maxUnread  = 256 << 10
	maxChunk   = 16 << 10
)

// Serve hands the connection to net/http, so that sendfile, HTTP/2 and Request.TLS work. It does
// not wait. After Shutdown or Close it closes c.
//
// A client of HTTP/1 that closes its half after a request, with FIN or a close_notify, still gets
// the answer. Unlike in net/http the context of the request is not done then, but only when the
// connection breaks: at once on Linux, and when a write fails elsewhere. [Ended] reports the end of
// the client's half.
func (h *Handler) Serve(c handlers.Conn, p handlers.Port) {
	h.start()
	h.serveWith(h.any, c, p)
}

// HTTP1 returns a Handler for connections that are known to begin with a request of HTTP/1, or to
// be TLS. It saves the system call with which net/http looks for HTTP/2 with prior knowledge.
func (h *Handler) HTTP1() handlers.Handler {
	return handlers.HandlerFunc(func(c handlers.Conn, p handlers.Port) {
		h.start()
		h.serveWith(h.http1, c, p)
	})
}

func (h *Handler) serveWith(srv *http.Server, c handlers.Conn, p handlers.Port) {
	nc, err := netConn(c)
	if err != nil {
		c.Close()
		p.Fail(c.Info(), err)
		return
	}
	l := newHTTPConn(c, p, nc)
	if t, ok := nc.(*tls.Conn); !ok {
		nc = newWatch(nc, l, &h.delays)
	} else if state := t.ConnectionState(); state.HandshakeComplete {
		l.head.clock.silence = h.FirstTimeout
		switch state.NegotiatedProtocol {
		case "http/1.1":
			srv = h.http1
			fallthrough
		case "": // net/http looks for HTTP/2 with prior knowledge, as it sees no TLS
			nc = newWatch(nc, l, &h.delays)
		}
	}
	l.head.budget, l.head.h2c = h.budget(), srv == h.any
	l.head.clock.beginsFirst(h.headerTimeout())
	h.serveConn(srv, l, nc)
}

// serveConn has srv serve l, as nc.
func (h *Handler) serveConn(srv *http.Server, l *httpConn, nc net.Conn) {
	l.handler, l.parkAfter = h, h.parksAfter(l)
	only := &single{nc: nc, conn: l}
	h.conns.add(nc, l)
	if l.watch == nil { // otherwise the head clock bounds the silence
		l.bound(h.FirstTimeout)
	}
	_ = srv.Serve(only)
	if !only.taken {
		h.conns.forget(nc)
		l.conn.Close()
	}
}

// netConn makes the net.Conn that costs least, with deadlines that spare a client that has sent
// something.
func netConn(c handlers.Conn) (net.Conn, error) {
	nc, err := handlers.AsDetacher(c).LazyNetConn()
	if err != nil {
		return nil, err
	}
	return grace.Conn(nc), nil
}

// start makes the servers at the first call.
func (h *Handler) start() {
	h.once.Do(func() { h.any, h.http1 = h.server(true), h.server(false) })
}

func (h *Handler) server(unencryptedHTTP2 bool) *http.Server {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(unencryptedHTTP2)
	errorLog := h.ErrorLog
	if errorLog == nil {
		errorLog = log.New(io.Discard, "", 0)
	}
	idle := h.idleTimeout()
	return &http.Server{
		Handler:   http.HandlerFunc(h.serve),
		Protocols: &protocols,
		HTTP2: &http.HTTP2Config{
			WriteByteTimeout: max(idle, 0), MaxConcurrentStreams: maxStreams, MaxReadFrameSize: maxFrame,
			MaxReceiveBufferPerConnection: maxUnread, MaxReceiveBufferPerStream: maxUnread,
		},
		ReadTimeout:       idle, // bodies that nobody reads; an exchange extends it
		ReadHeaderTimeout: h.headerTimeout(),
		IdleTimeout:       idle,
		MaxHeaderBytes:    h.maxHeaderBytes(),
		ErrorLog:          errorLog,
		BaseContext:       h.conns.context,
		ConnState:         h.conns.state,
		// OPTIONS * is answered like any other OPTIONS.
		DisableGeneralOptionsHandler: true,
	}
}

// Shutdown finishes the requests that have begun and closes the connections. It leaves hijacked
// connections alone. It returns nil, or the error of ctx if that ends first.
func (h *Handler) Shutdown(ctx context.Context) error {
	h.start()
	h.conns.drain(ctx)
	errs := make(chan error)
	go func() { errs <- h.any.Shutdown(ctx) }() // ends with ctx at the latest
	err := h.http1.Shutdown(ctx)
	return cmp.Or(err, <-errs, h.conns.wait(ctx))
}

// Close closes every connection at once.
func (h *Handler) Close() error {
	h.start()
	return cmp.Or(h.any.Close(), h.http1.Close())
}

func (h *Handler) budget() *handlers.Budget { return cmp.Or(h.Budget, &h.own) }

func (h *Handler) limit() int { return cmp.Or(h.Limit, DefaultLimit) }

func (h *Handler) idleTimeout() time.Duration { return cmp.Or(h.IdleTimeout, DefaultIdleTimeout) }

func (h *Handler) headerTimeout() time.Duration { return cmp.Or(h.HeaderTimeout, DefaultHeaderTimeout) }

func (h *Handler) messageTimeout() time.Duration {
	return cmp.Or(h.MessageTimeout, DefaultMessageTimeout)
}

func (h *Handler) maxInline() int { return min(setting.Or(h.MaxInline, laneMost, 0), laneMost) }

func (h *Handler) maxHeaderBytes() int {
	if h.MaxHeaderBytes < 0 {
		return math.MaxInt32 // net/http takes a negative value for its default
	}
	return cmp.Or(h.MaxHeaderBytes, 64<<10)
}
