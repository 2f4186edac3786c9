// Package httpd serves HTTP/1.1, HTTP/2 over TLS and HTTP/2 with prior knowledge, with net/http.
//
// Each POST or PUT request is a client of its own: it connects, the lines of its body are its messages, what the program
// writes is the body of the answer, and it disconnects when that has ended. Requests of other methods are pages.
//
// A line feed ends a message and is not part of it, also of an empty one; what follows the last line feed is a message
// unless it is empty. The carriage return of a CRLF stays.
package httpd

import (
	"context"
	"io"
	"log"
	"net/http"
	"sync"
	"time"

	"github.com/portluck/portluck/handlers"
)

// Defaults of a [Handler].
const (
	DefaultLimit         = 1 << 20
	DefaultIdleTimeout   = 2 * time.Minute
	DefaultHeaderTimeout = 10 * time.Second
)

// A Handler serves HTTP. Its zero value is ready. The fields are not changed once it serves; its methods may be called by
// several goroutines at once.
type Handler struct {
	// Pages answers requests of other methods than POST, PUT, OPTIONS and CONNECT; 405 if nil. What it hijacks keeps
	// its place among the connections of the port until it is closed.
	Pages http.Handler
	// Claim says that Pages answers r although its method is POST, PUT or OPTIONS: gRPC, say, or an upload. It does not
	// if Claim is nil.
	Claim func(r *http.Request) bool
	// Streams serves the GET requests for which it returns a Handler: answers that go on, such as server-sent events.
	// Their Origin is checked. The deadline for reading is the Handler's to set, as is ending with the server.
	Streams func(r *http.Request, info *handlers.Info) http.Handler
	// CheckOrigin says whether the page that a request comes from may talk to the server. If nil, a request without an
	// Origin may, and one from the same origin.
	CheckOrigin func(r *http.Request) bool
	// Upgrade gets the GET requests that want to become a WebSocket, with their connection: it is Upgrade's, once
	// that has hijacked it. They are requests like any other if it is nil.
	Upgrade func(w http.ResponseWriter, r *http.Request, c handlers.Conn, p handlers.Port)
	// Limit is the longest message in bytes; 1 MiB if zero, none if negative. A longer one is answered with 413; with
	// Tail its last Limit bytes are the message.
	Limit int
	Tail  bool
	// ExplicitDone keeps every answer open until Done.
	ExplicitDone bool
	// IdleTimeout bounds how long a connection may be idle, how long the body of a request or the program's Done may
	// keep us waiting while nothing is sent, and how long the client may leave unread what is; 2 minutes if zero, no
	// bound if negative.
	IdleTimeout time.Duration
	// HeaderTimeout bounds how long the head of a request may take; 10 seconds if zero, no bound if negative.
	HeaderTimeout time.Duration
	// MaxHeaderBytes bounds the head of a request; 64 KiB if zero.
	MaxHeaderBytes int
	// ErrorLog gets what net/http has to say: panics of Pages, broken requests. Nobody does if it is nil.
	ErrorLog *log.Logger

	wg sync.WaitGroup // the goroutine in srv.Serve

	mu      sync.Mutex
	srv     *http.Server
	in      *queue
	serving bool
	ended   bool
}

// Serve hands the connection to net/http as it is: sendfile, HTTP/2 and Request.TLS work. It does not wait. After
// Shutdown or Close it closes c.
func (h *Handler) Serve(c handlers.Conn, p handlers.Port) {
	nc, err := c.NetConn()
	if err != nil {
		c.Close()
		p.Fail(c.Info(), err)
		return
	}
	if !h.start(true).push(nc, &link{conn: c, port: p}) {
		c.Close()
	}
}

// start makes the server at the first call, and has it serve.
func (h *Handler) start(serve bool) *queue {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.srv == nil {
		h.makeServer()
	}
	if serve && !h.serving && !h.ended {
		h.serving = true
		h.wg.Go(func() { _ = h.srv.Serve(h.in) }) // ends with Shutdown or Close, which wait for it
	}
	return h.in
}

func (h *Handler) makeServer() {
	h.in = newQueue()
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	errorLog := h.ErrorLog
	if errorLog == nil {
		errorLog = log.New(io.Discard, "", 0)
	}
	idle := h.idleTimeout()
	h.srv = &http.Server{
		Handler:           http.HandlerFunc(h.serve),
		Protocols:         &protocols,
		HTTP2:             &http.HTTP2Config{WriteByteTimeout: max(idle, 0)},
		ReadTimeout:       idle, // bodies that nobody reads; an exchange extends it
		ReadHeaderTimeout: bound(h.HeaderTimeout, DefaultHeaderTimeout),
		IdleTimeout:       idle,
		MaxHeaderBytes:    h.maxHeaderBytes(),
		ErrorLog:          errorLog,
		ConnContext:       h.in.context,
		ConnState:         h.in.state,
		// OPTIONS * is answered like any other OPTIONS.
		DisableGeneralOptionsHandler: true,
	}
}

// Shutdown finishes the requests that have begun and closes the connections; those that are hijacked are left alone. It
// returns nil, or the error of ctx if that ends first.
func (h *Handler) Shutdown(ctx context.Context) error {
	h.start(false).drain(ctx)
	err := h.srv.Shutdown(ctx)
	h.end()
	return err
}

// Close closes every connection at once.
func (h *Handler) Close() error {
	h.start(false)
	err := h.srv.Close()
	h.end()
	return err
}

// end lets no connection in any more.
func (h *Handler) end() {
	h.mu.Lock()
	h.ended = true
	h.mu.Unlock()
	h.in.Close()
	h.wg.Wait()
	h.in.shed()
}

// bound is what a field of a duration means to net/http: def if zero, none if negative.
func bound(d, def time.Duration) time.Duration {
	if d == 0 {
		return def
	}
	return d
}

func (h *Handler) idleTimeout() time.Duration { return bound(h.IdleTimeout, DefaultIdleTimeout) }

func (h *Handler) maxHeaderBytes() int {
	if h.MaxHeaderBytes == 0 {
		return 64 << 10
	}
	return h.MaxHeaderBytes
}
