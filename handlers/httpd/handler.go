// Package httpd serves HTTP/1.1, HTTP/2 over TLS and HTTP/2 with prior knowledge, with net/http.
//
// Each POST or PUT request is a client of its own: it connects, the lines of its body are its
// messages, what the program writes is the body of the answer, and it disconnects when that has
// ended. Requests of other methods are pages. What [Handler.Mux] has a pattern for is neither.
//
// A line feed ends a message and is not part of it, also of an empty one; what follows the last
// line feed is a message unless it is empty. The carriage return of a CRLF stays.
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
)

// Defaults of a [Handler].
const (
	DefaultLimit          = 1 << 20
	DefaultIdleTimeout    = 2 * time.Minute
	DefaultMessageTimeout = 2 * time.Minute
	DefaultHeaderTimeout  = 10 * time.Second
)

// A Handler serves HTTP. Its zero value is ready. The fields are not changed once it serves; its
// methods may be called by several goroutines at once.
type Handler struct {
	// Hosts are the names that are answered to, besides localhost and IP addresses; see
	// [handlers.Hosts]. A request for another one is answered with 421, whatever it asks for.
	// Without any every name will do, but not on loopback.
	Hosts handlers.Hosts
	// Pages answers requests of other methods than POST, PUT, OPTIONS and CONNECT; 405 if nil. What
	// it hijacks keeps its place among the connections of the port until it is closed.
	Pages http.Handler
	// Mux answers the requests, of any method, for which it has a pattern, before they become
	// clients; none if nil. Their Origin is checked, but for a GET or HEAD without one, and the
	// waits for their clients are bounded. What shakes hands for a WebSocket, CONNECT and the
	// target * are not for it.
	Mux *http.ServeMux
	// Claim says that Pages answers r although its method is POST, PUT or OPTIONS: gRPC, say, or an
	// upload. It does not if Claim is nil. It is asked for the Allow of other answers too.
	Claim func(r *http.Request) bool
	// Streams serves the GET requests for which it returns a Handler: answers that go on, such as
	// server-sent events. Their Origin is checked. The deadline for reading is the Handler's to
	// set, as is ending with the server. It is asked for the Allow and the Vary of answers too,
	// with a GET of events whose Handler is not called.
	Streams func(r *http.Request, info *handlers.Info) http.Handler
	// CheckOrigin reports whether the page that a request comes from may talk to the server. If
	// nil, a request without an Origin may, and one from the same origin.
	CheckOrigin func(r *http.Request) bool
	// Upgrade gets the GET requests that want to become a WebSocket, with their connection: it is
	// Upgrade's, once that has hijacked it. They are requests like any other if it is nil.
	Upgrade func(w http.ResponseWriter, r *http.Request, c handlers.Conn, p handlers.Port)
	// Limit is the longest message in bytes; 1 MiB if zero, none if negative. A longer one is
	// answered with 413; with Tail its last Limit bytes are the message.
	Limit int
	Tail  bool
	// Budget bounds the memory of messages that are not whole, and of heads of more than 4 KiB
	// until their request is answered, or the connection closed that Upgrade has got with it, for
	// all requests together; one of the Handler's own if nil. A request that would exceed it is
	// answered with 503.
	Budget *handlers.Budget
	// ExplicitDone keeps every answer open until Done.
	ExplicitDone bool
	// IdleTimeout bounds how long a connection may be idle, how long the body of a request or the
	// program's Done may keep us waiting while nothing is sent, and how long the client may leave
	// unread what is; 2 minutes if zero, no bound if negative.
	IdleTimeout time.Duration
	// MessageTimeout bounds how long a message may take from its first byte to its last; 2 minutes
	// if zero, no bound if negative. The answer is 408. Between two messages of a body there is
	// IdleTimeout only.
	MessageTimeout time.Duration
	// HeaderTimeout bounds how long the head of a request may take, from its first byte; 10 seconds
	// if zero, no bound if negative. The answer of HTTP/1 is 408.
	HeaderTimeout time.Duration
	// FirstTimeout bounds how long a client may be silent after a TLS handshake that has agreed on
	// HTTP; it is closed then without an answer. HeaderTimeout alone bounds it if zero or negative.
	FirstTimeout time.Duration
	// MaxHeaderBytes bounds the head of a request; 64 KiB if zero, no bound if negative.
	MaxHeaderBytes int
	// ErrorLog gets what net/http has to say: panics of Pages, broken requests. Nobody does if it
	// is nil.
	ErrorLog *log.Logger

	once    sync.Once // makes
	any     *http.Server
	http1   *http.Server // of HTTP1
	conns   conns
	delayed delayedFlushes
	own     handlers.Budget // without Budget
}

// Bounds of an HTTP/2 connection. A client may have 100 requests at once (RFC 9113, section 6.5.2).
// What net/http keeps of their bodies is maxUnread for those that we do not read, while a callback
// takes its time, and a chunk for each that we do.
const (
	maxStreams = 100
	maxFrame   = 16 << 10
	maxUnread  = 256 << 10
	maxChunk   = 16 << 10
)

// Serve hands the connection to net/http: sendfile, HTTP/2 and Request.TLS work. It does not wait.
// After Shutdown or Close it closes c.
//
// A client of HTTP/1 that ends its half after a request, with FIN or a close_notify, still gets the
// answer. So the context of a request is not done then, unlike net/http's, but when the connection
// is broken: as soon as it is on Linux, and elsewhere when a write fails. [Ended] tells of that
// end.
func (h *Handler) Serve(c handlers.Conn, p handlers.Port) {
	h.start()
	h.serveWith(h.any, c, p)
}

// HTTP1 returns the Handler for connections that begin with a request of HTTP/1, or TLS, for sure.
// net/http does not look for HTTP/2 with prior knowledge there, which takes a system call.
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
		nc = newWatch(nc, l)
	} else if state := t.ConnectionState(); state.HandshakeComplete {
		l.head.clock.silence = h.FirstTimeout
		switch state.NegotiatedProtocol {
		case "http/1.1":
			srv = h.http1
			fallthrough
		case "": // net/http looks for HTTP/2 with prior knowledge, as it does not know of TLS
			nc = newWatch(nc, l)
		}
	}
	l.head.budget, l.head.h2c = h.budget(), srv == h.any
	l.head.clock.beginsFirst(h.headerTimeout())
	only := &single{nc: nc, conn: l}
	h.conns.add(nc, l)
	if l.watch == nil { // else the clock has it
		l.bound(h.FirstTimeout)
	}
	_ = srv.Serve(only)
	if !only.taken {
		h.conns.forget(nc)
		c.Close()
	}
}

// netConn makes the net.Conn that costs least, with deadlines that spare who has sent something.
func netConn(c handlers.Conn) (net.Conn, error) {
	get := c.NetConn
	if lazy, ok := c.(handlers.LazyConn); ok {
		get = lazy.LazyNetConn
	}
	nc, err := get()
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

// Shutdown finishes the requests that have begun and closes the connections; those that are
// hijacked are left alone. It returns nil, or the error of ctx if that ends first.
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

func (h *Handler) maxHeaderBytes() int {
	if h.MaxHeaderBytes < 0 {
		return math.MaxInt32 // to net/http a negative one is its default
	}
	return cmp.Or(h.MaxHeaderBytes, 64<<10)
}
