package httpd

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"runtime/debug"
	"strings"
	"sync"

	"github.com/portluck/portluck/handlers"
)

// contentType is the Content-Type of an answer. Answers share it, as net/http copies header values.
var contentType = []string{"text/plain; charset=utf-8"}

// serve answers one request. It logs a panic of the program and passes it on to net/http, which
// ends the connection or the stream. If the connection was hijacked, serve closes it to free its
// slot.
func (h *Handler) serve(w http.ResponseWriter, r *http.Request) {
	l := r.Context().Value(connKey{}).(*httpConn)
	if r.ProtoMajor == 1 {
		l.posted = r.Method == http.MethodPost
	}
	panics := true
	defer func() {
		if !panics {
			return
		}
		if l.hijacked.Load() { // net/http closes the others
			l.conn.Close()
		}
		v := recover()
		info := requestInfo(r, l)
		handlers.LogPanic(l.port, &info, &handlers.PanicError{Value: v, Stack: debug.Stack()})
		if v != nil { // otherwise runtime.Goexit is ending the goroutine
			panic(v)
		}
	}()
	h.dispatch(w, r, l)
	panics = false
}

// dispatch decides what a request is. It decides for each request, as requests of every kind may
// share a connection.
func (h *Handler) dispatch(w http.ResponseWriter, r *http.Request, l *httpConn) {
	if l.spoiled.Load() {
		panic(http.ErrAbortHandler)
	}
	if h.conns.draining.Load() && r.ProtoMajor == 1 {
		w.Header().Set("Connection", "close")
	}
	held, ok := h.holdHead(w, r, l)
	if !ok {
		return
	}
	defer func() { h.budget().Take(-held) }()
	if l.remote != "" {
		r.RemoteAddr = l.remote
	}
	if r.TLS == nil {
		r.TLS = l.secure()
	}
	if e := l.resumed.Swap(nil); e != nil {
		e.resume(h, w, r, l)
		return
	}
	if !h.answers(w, r, l) || h.mountedWebSocket(w, r, l) || h.mounted(w, r, l) {
		return
	}
	if h.streamed(w, r, l) {
		return
	}
	switch {
	case h.Upgrade != nil && wantsWebSocket(r):
		mine := held
		held = 0
		h.upgrade(w, r, l, mine)
	case r.Method == http.MethodConnect:
		h.refuseMethod(w, r, l)
	case h.Pages != nil && h.Claim != nil && h.Claim(r):
		h.page(w, r, l, h.Pages)
	case r.Method == http.MethodPost || r.Method == http.MethodPut:
		h.exchange(w, r, l)
	case r.Method == http.MethodOptions:
		pace := h.writeDeadline(w, r)
		pace.begin()
		if h.allow(w, r, l) {
			w.Header().Set("Allow", strings.Join(h.methods(r, l), ", "))
			w.WriteHeader(http.StatusOK)
		}
	case h.Pages == nil:
		h.refuseMethod(w, r, l)
	default:
		h.page(w, r, l, h.Pages)
	}
}

// streamed answers r with the handler that Streams returns for it, if any. Streams may decide by
// the Accept header. A cache must then not answer a request for the stream with the page (RFC 9110,
// section 12.5.5).
func (h *Handler) streamed(w http.ResponseWriter, r *http.Request, l *httpConn) bool {
	if h.Streams == nil || r.Method != http.MethodGet && r.Method != http.MethodHead || wantsWebSocket(r) {
		return false
	}
	asked := *r
	asked.Method = http.MethodGet
	if h.isStreamed(&asked, l) {
		w.Header().Add("Vary", "Accept")
	}
	if r.Method == http.MethodHead {
		return false
	}
	info := requestInfo(r, l)
	s := h.Streams(r, &info)
	if s == nil {
		return false
	}
	if h.allow(w, r, l) {
		h.page(w, r, l, s)
	}
	return true
}

// answers reports whether the server answers to the host of r. If not, it refuses the request.
func (h *Handler) answers(w http.ResponseWriter, r *http.Request, l *httpConn) bool {
	if h.Hosts.Answers(r, l.conn.Info().Local.Addr()) {
		return true
	}
	pace := h.writeDeadline(w, r)
	pace.begin()
	handlers.Misdirected(w, r)
	info := requestInfo(r, l)
	l.port.Fail(&info, handlers.ErrHost)
	return false
}

// wantsWebSocket reports whether r is the opening handshake of a WebSocket (RFC 6455, section
// 4.2.1). A request of HTTP/1.0 cannot ask for an upgrade (RFC 9110, section 7.8).
func wantsWebSocket(r *http.Request) bool {
	return r.Method == http.MethodGet && r.ProtoAtLeast(1, 1) && handlers.HasToken(r.Header["Connection"], "upgrade") && handlers.HasToken(r.Header["Upgrade"], "websocket")
}

// upgrade hands the request and its connection to Upgrade. The client keeps the request, so the
// held bytes of the budget are given back only when the connection is closed.
func (h *Handler) upgrade(w http.ResponseWriter, r *http.Request, l *httpConn, held int) {
	pace := h.writeDeadline(w, r)
	pace.begin()
	conn, upgraded := l.conn, false
	if held > 0 {
		kept := &keptHead{handlers.AsDetacher(l.conn), sync.OnceFunc(func() { h.budget().Take(-held) })}
		conn = kept
		defer func() {
			if !upgraded {
				kept.free()
			}
		}()
	}
	h.Upgrade(upgrading{w, l}, r, conn, l.port)
	upgraded = l.hijacked.Load()
}

// keptHead is a connection whose client keeps a request head that counts against the budget.
type keptHead struct {
	handlers.Detacher
	free func()
}

// Close is [handlers.Conn.Close].
func (c *keptHead) Close() error {
	c.free()
	return c.Detacher.Close()
}

// Detach is [handlers.Detacher.Detach].
func (c *keptHead) Detach() (io.Closer, error) {
	place, err := c.Detacher.Detach()
	if err != nil {
		return nil, err
	}
	return keptPlace{place, c.free}, nil
}

// keptPlace is the slot of a detached connection, with its head.
type keptPlace struct {
	io.Closer
	free func()
}

// Close is io.Closer's.
func (p keptPlace) Close() error {
	p.free()
	return p.Closer.Close()
}

// upgrading is the http.ResponseWriter for Upgrade. Its Hijack returns the port's connection,
// without net/http's wrapper.
type upgrading struct {
	http.ResponseWriter
	link *httpConn
}

// Unwrap is for http.ResponseController.
func (u upgrading) Unwrap() http.ResponseWriter { return u.ResponseWriter }

// Hijack is http.Hijacker's.
func (u upgrading) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	_, rw, err := http.NewResponseController(u.ResponseWriter).Hijack()
	if err == nil {
		u.link.watch.fill(rw)
	}
	return u.link.nc, rw, err
}

// requestInfo returns the Info of the client that r becomes.
func requestInfo(r *http.Request, l *httpConn) handlers.Info {
	info := *l.conn.Info()
	info.Protocol = handlers.ProtocolHTTP1
	if r.ProtoMajor == 2 {
		info.Protocol = handlers.ProtocolHTTP2
	}
	if info.TLS == nil {
		info.TLS = r.TLS
	}
	info.Request = r
	return info
}
