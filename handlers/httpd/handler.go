// Package httpd serves HTTP/1.1, HTTP/2 over TLS and HTTP/2 with prior knowledge, with net/http.
//
// Each POST or PUT request is a client of its own: it connects, the lines of its body are its messages, what the program
// writes is the body of the answer, and it disconnects when that has ended. Requests of other methods are pages.
package httpd

import (
	"context"
	"errors"
	"io"
	"log"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/portluck/portluck/handlers"
)

// Defaults of a [Handler].
const (
	DefaultLimit         = 1 << 20
	DefaultIdleTimeout   = 2 * time.Minute
	DefaultHeaderTimeout = 10 * time.Second
)

// A Handler serves HTTP. Its zero value is ready. The fields are not changed once it serves.
type Handler struct {
	// Pages answers requests of other methods than POST, PUT, OPTIONS and CONNECT; 405 if nil.
	Pages http.Handler
	// CheckOrigin says whether the page that a request comes from may talk to the server. If nil, a request without an
	// Origin may, and one from the same origin.
	CheckOrigin func(r *http.Request) bool
	// Upgrade gets the GET requests that want to become a WebSocket, with their connection. They are requests like
	// any other if it is nil.
	Upgrade func(w http.ResponseWriter, r *http.Request, c handlers.Conn, p handlers.Port)
	// Limit is the longest message in bytes; 1 MiB if zero, none if negative. A longer one is answered with 413; with
	// Tail its last Limit bytes are the message.
	Limit int
	Tail  bool
	// ExplicitDone keeps every answer open until Done.
	ExplicitDone bool
	// IdleTimeout bounds how long nothing may be read or written; 2 minutes if zero, no bound if negative.
	IdleTimeout time.Duration
	// HeaderTimeout bounds how long the head of a request may take; 10 seconds if zero, no bound if negative.
	HeaderTimeout time.Duration
	// MaxHeaderBytes bounds the head of a request; 64 KiB if zero.
	MaxHeaderBytes int

	wg sync.WaitGroup // the goroutine in srv.Serve

	mu      sync.Mutex
	srv     *http.Server
	in      *queue
	serving bool
}

// Serve hands the connection to net/http as it is: sendfile, HTTP/2 and Request.TLS work.
func (h *Handler) Serve(c handlers.Conn, p handlers.Port) {
	nc, err := c.NetConn()
	if err != nil {
		c.Close()
		p.Fail(c.Info(), err)
		return
	}
	h.start(true)
	if !h.in.push(nc, &link{conn: c, port: p}) {
		c.Close()
	}
}

// start makes the server at the first call, and has it serve.
func (h *Handler) start(serve bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.srv == nil {
		h.makeServer()
	}
	if serve && !h.serving {
		h.serving = true
		h.wg.Go(func() { _ = h.srv.Serve(h.in) }) // ends with Shutdown or Close, which wait for it
	}
}

func (h *Handler) makeServer() {
	h.in = newQueue()
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	h.srv = &http.Server{
		Handler:           http.HandlerFunc(h.serve),
		Protocols:         &protocols,
		ReadHeaderTimeout: bound(h.HeaderTimeout, DefaultHeaderTimeout),
		IdleTimeout:       bound(h.IdleTimeout, DefaultIdleTimeout),
		MaxHeaderBytes:    h.maxHeaderBytes(),
		ErrorLog:          log.New(io.Discard, "", 0),
		ConnContext:       h.in.context,
		ConnState:         h.in.state,
		// OPTIONS * is answered like any other OPTIONS.
		DisableGeneralOptionsHandler: true,
	}
}

// Shutdown finishes the requests that have begun and closes the connections. It returns nil, or the error of ctx if that
// ends first.
func (h *Handler) Shutdown(ctx context.Context) error {
	h.start(false)
	h.in.drain(ctx)
	err := h.srv.Shutdown(ctx)
	h.wg.Wait()
	return err
}

// Close closes every connection at once.
func (h *Handler) Close() error {
	h.start(false)
	h.in.Close()
	err := h.srv.Close()
	h.wg.Wait()
	return err
}

// bound is what a field of a duration means to net/http: def if zero, none if negative.
func bound(d, def time.Duration) time.Duration {
	if d == 0 {
		return def
	}
	return d
}

func (h *Handler) maxHeaderBytes() int {
	if h.MaxHeaderBytes == 0 {
		return 64 << 10
	}
	return h.MaxHeaderBytes
}

// serve answers one request.
func (h *Handler) serve(w http.ResponseWriter, r *http.Request) {
	l := r.Context().Value(linkKey{}).(*link)
	if l.spoiled.Load() {
		panic(http.ErrAbortHandler)
	}
	if h.in.draining.Load() && r.ProtoMajor == 1 {
		w.Header().Set("Connection", "close")
	}
	if remote := l.conn.Info().Remote; remote.IsValid() {
		r.RemoteAddr = remote.String()
	}
	switch {
	case h.Upgrade != nil && wantsWebSocket(r):
		h.Upgrade(w, r, l.conn, l.port)
	case r.Method == http.MethodPost || r.Method == http.MethodPut:
		h.exchange(w, r, l)
	case r.Method == http.MethodOptions:
		if h.allow(w, r, l) {
			w.WriteHeader(http.StatusOK)
		}
	case r.Method == http.MethodConnect || h.Pages == nil:
		refuseMethod(w, r)
	default:
		h.Pages.ServeHTTP(pageWriter(w, r, l.conn), r)
	}
}

func refuseMethod(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Allow", "POST, PUT")
	w.Header().Set("Content-Type", contentType)
	if r.Method == http.MethodConnect {
		w.Header().Set("Connection", "close")
	}
	w.WriteHeader(http.StatusMethodNotAllowed)
	if r.Method != http.MethodHead {
		_, _ = io.WriteString(w, "Allowed methods are POST or PUT.")
	}
}

const contentType = "text/plain; charset=utf-8"

// wantsWebSocket says whether r is the opening handshake of a WebSocket (RFC 6455, section 4.2.1).
func wantsWebSocket(r *http.Request) bool {
	return r.Method == http.MethodGet && handlers.HasToken(r.Header["Connection"], "upgrade") && handlers.HasToken(r.Header["Upgrade"], "websocket")
}

// errGone is why an exchange ends whose client has closed the connection.
var errGone = errors.New("the client went away before the answer had ended")

// link is what belongs to a connection of net/http.
type link struct {
	conn handlers.Conn
	port handlers.Port
	// spoiled says that a request was answered before its body had ended: what comes next is not a request, however
	// much it may look like one.
	spoiled atomic.Bool

	fresh bool // no request has come yet; under queue.mu
}

type linkKey struct{}
