package httpd

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/internal/grace"
)

// httpConn is a connection that net/http serves.
type httpConn struct {
	handler *Handler
	conn    handlers.Conn
	port    handlers.Port
	nc      net.Conn
	// watch wraps nc for net/http; nil if net/http has nc itself.
	watch *watch
	// remote is the client's address, even behind a trusted proxy; empty on a Unix socket.
	remote string
	// spoiled means that a request was answered before its body ended, so that the bytes that
	// follow are not a request, even if they look like one.
	spoiled atomic.Bool
	fresh   atomic.Bool // no request has come yet
	idle    atomic.Bool // it waits for its next request
	// hijacked means that net/http no longer closes the connection.
	hijacked atomic.Bool
	// parking means that it goes to the Parker as soon as net/http has dropped it.
	parking   atomic.Bool
	parkAfter time.Duration // how long it is idle before it is parked; 0 for ever
	posted    bool          // the last request was a POST
	first     func() bool   // ends bound; nil without
	head      headMeter
	lane      *lane // nil without
	// resumed is what the first request goes on with, if the lane has begun it.
	resumed atomic.Pointer[exchangeState]

	mu     sync.Mutex
	over   bool          // the client has closed its half
	ended  chan struct{} // closed with over; nil until whenEnded is called
	before *httpConn     // ends with it: that of its first request, in the lane
}

type connKey struct{}

func newHTTPConn(c handlers.Conn, p handlers.Port, nc net.Conn) *httpConn {
	l := &httpConn{}
	l.init(c, p, nc)
	return l
}

func (l *httpConn) init(c handlers.Conn, p handlers.Port, nc net.Conn) {
	l.conn, l.port, l.nc = c, p, nc
	if remote := c.Info().Remote; remote.IsValid() {
		l.remote = remote.String()
	}
}

// sever closes the connection under net/http, which notices it. It does not wait, not even to send
// a close_notify of TLS.
func (l *httpConn) sever() {
	nc := l.nc
	if t, ok := nc.(*tls.Conn); ok {
		nc = t.NetConn()
	}
	_ = nc.Close()
	if l.watch != nil {
		l.watch.shut()
	}
}

// serves reports whether the connection is serving a request of HTTP/1.
func (l *httpConn) serves() bool {
	return !l.fresh.Load() && !l.idle.Load() && !l.hijacked.Load() && !l.head.h2.Load()
}

// end records that the client has closed its half.
func (l *httpConn) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		return
	}
	l.over = true
	if l.ended != nil {
		close(l.ended)
	}
	if l.before != nil {
		l.before.end()
	}
}

// continues has the end of l end before, which was the same connection in the lane.
func (l *httpConn) continues(before *httpConn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.before = before; l.over {
		before.end()
	}
}

// whenEnded returns a channel that is closed once the client has closed its half.
func (l *httpConn) whenEnded() <-chan struct{} {
	if l.lane != nil {
		l.lane.watch()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended == nil {
		l.ended = make(chan struct{})
		if l.over {
			close(l.ended)
		}
	}
	return l.ended
}

// Ended returns a channel that is closed when the client of r closes its half of an HTTP/1
// connection. The client may still wait for the answer, so the context of r is not done then. It is
// done when the connection breaks; if the client is gone, that may show only when something is
// written to it. Ended returns nil for a request that no [Handler] serves.
func Ended(r *http.Request) <-chan struct{} {
	if l, ok := r.Context().Value(connKey{}).(*httpConn); ok {
		return l.whenEnded()
	}
	return nil
}

// secure returns the TLS state of the connection, or nil if it is plain.
func (l *httpConn) secure() *tls.ConnectionState {
	if state := l.conn.Info().TLS; state != nil {
		return state
	}
	if c, ok := l.nc.(interface{ ConnectionState() tls.ConnectionState }); ok {
		if state := c.ConnectionState(); state.HandshakeComplete {
			return &state
		}
	}
	return nil
}

// bound closes the connection if the client, which speaks HTTP/2 over TLS, sends nothing for d
// after the handshake.
func (l *httpConn) bound(d time.Duration) {
	t, ok := l.nc.(*tls.Conn)
	if !ok || d <= 0 {
		return
	}
	below, ok := t.NetConn().(interface{ Received() int64 })
	if !ok {
		return
	}
	begin := below.Received()
	l.first = grace.AfterFunc(t, d, func() {
		if l.fresh.Load() && below.Received() == begin {
			_ = t.Close() // sends close_notify
		}
	})
}

// conns holds the connections that net/http serves.
type conns struct {
	byConn   sync.Map // net.Conn to *httpConn
	count    atomic.Int64
	fresh    atomic.Int64 // connections without a request yet
	parked   atomic.Int64 // connections that the Parker has
	last     atomic.Int64 // time of the last first request or end, in ns; set while draining
	draining atomic.Bool
}

func (s *conns) add(nc net.Conn, l *httpConn) {
	l.fresh.Store(true)
	s.fresh.Add(1)
	s.count.Add(1)
	s.byConn.Store(nc, l)
}

// single is a listener with one connection, which net/http takes in the goroutine that calls Serve.
type single struct {
	nc    net.Conn
	conn  *httpConn
	relay *laneRelay // in place of conn
	taken bool
}

// Accept is net.Listener's.
func (s *single) Accept() (net.Conn, error) {
	if s.taken {
		return nil, io.EOF
	}
	s.taken = true
	return s.nc, nil
}

// Close is net.Listener's.
func (s *single) Close() error { return nil }

// Addr is net.Listener's.
func (s *single) Addr() net.Addr { return s.nc.LocalAddr() }

// context is the BaseContext of the http.Server.
func (s *conns) context(l net.Listener) context.Context {
	return connContext{context.Background(), l.(*single).conn}
}

// connContext is a context with the values of a connection.
type connContext struct {
	context.Context
	conn *httpConn
}

// Value is [context.Context.Value].
func (c connContext) Value(key any) any {
	switch key {
	case connKey{}:
		return c.conn
	case handlers.PortContextKey:
		return c.conn.port
	}
	return nil
}

// stackNeed is roughly the stack size that a connection's goroutine needs for a request.
const stackNeed = 4 << 10

// makeRoom makes the stack grow at once, while there is little to copy.
//
//go:noinline
func makeRoom(*[stackNeed]byte) {}

// find returns the connection that net/http knows as nc, or nil if it is not known.
func (s *conns) find(nc net.Conn) *httpConn {
	switch c := nc.(type) {
	case *watch:
		return c.conn
	case *watchFiles:
		return c.conn
	}
	l, ok := s.byConn.Load(nc)
	if !ok {
		return nil
	}
	return l.(*httpConn)
}

// state is the ConnState of the http.Server. It closes the connections that net/http has closed,
// or parks them. A hijacked connection belongs to its new owner.
func (s *conns) state(nc net.Conn, to http.ConnState) {
	switch to {
	case http.StateActive:
		l := s.find(nc)
		if l != nil {
			l.idle.Store(false)
		}
		s.shown(l)
	case http.StateIdle:
		l := s.find(nc)
		switch {
		case l == nil:
		case l.spoiled.Load():
			hangUp(l.nc)
		default:
			l.idle.Store(true)
			l.head.begins()
		}
	case http.StateClosed:
		l := s.find(nc)
		switch {
		case l == nil:
		case l.parking.Load():
			s.count.Add(1) // a shutdown finds it here or parked
			s.forget(nc)
			l.park()
			s.count.Add(-1)
		default:
			l.conn.Close()
			s.forget(nc)
		}
	case http.StateHijacked:
		if l := s.forget(nc); l != nil {
			l.hijacked.Store(true)
		}
	}
}

func (s *conns) forget(nc net.Conn) *httpConn {
	v, ok := s.byConn.LoadAndDelete(nc)
	if !ok {
		return nil
	}
	l := v.(*httpConn)
	if e := l.resumed.Swap(nil); e != nil {
		e.lost()
	}
	l.head.ends()
	s.shown(l)
	s.count.Add(-1)
	return l
}

// shown records that the first request of a connection has come.
func (s *conns) shown(l *httpConn) {
	if s.draining.Load() {
		s.last.Store(time.Now().UnixNano())
	}
	if l != nil && l.fresh.Load() && l.fresh.Swap(false) {
		if l.first != nil {
			l.first()
		}
		makeRoom(&[stackNeed]byte{})
		s.fresh.Add(-1)
	}
}
