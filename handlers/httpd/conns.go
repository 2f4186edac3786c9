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
	conn handlers.Conn
	port handlers.Port
	nc   net.Conn
	// watch is what net/http has of nc; nil where that is nc itself.
	watch *watch
	// remote is the address of the client, also behind a proxy; empty on a Unix socket.
	remote string
	// spoiled says that a request was answered before its body had ended: what comes next is not a
	// request, however much it may look like one.
	spoiled atomic.Bool
	fresh   atomic.Bool // it has shown no request yet
	idle    atomic.Bool // it waits for its next request
	// hijacked says that net/http closes it no more.
	hijacked atomic.Bool
	first    func() bool // ends bound; nil without
	head     headMeter

	mu    sync.Mutex
	over  bool          // the client has ended its half
	ended chan struct{} // closed then; nil unless somebody has asked
}

type connKey struct{}

func newHTTPConn(c handlers.Conn, p handlers.Port, nc net.Conn) *httpConn {
	l := &httpConn{conn: c, port: p, nc: nc}
	if remote := c.Info().Remote; remote.IsValid() {
		l.remote = remote.String()
	}
	return l
}

// sever closes the connection under net/http, which notices. It does not wait, not even for the
// farewell of TLS.
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

// serves reports whether a request of HTTP/1 is being served.
func (l *httpConn) serves() bool {
	return !l.fresh.Load() && !l.idle.Load() && !l.hijacked.Load() && !l.head.h2.Load()
}

// end notes that the client has ended its half.
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
}

// whenEnded returns what is closed when the client has ended its half.
func (l *httpConn) whenEnded() <-chan struct{} {
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

// Ended returns a channel that is closed when the client of r has ended its half of a connection of
// HTTP/1, and may still wait for the answer. The context of r goes on: it is done when the
// connection is broken, which a client that is gone shows no sooner than something is written to
// it. Ended returns nil for a request that no [Handler] serves.
func Ended(r *http.Request) <-chan struct{} {
	if l, ok := r.Context().Value(connKey{}).(*httpConn); ok {
		return l.whenEnded()
	}
	return nil
}

// secure returns the state of TLS; nil without.
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

// bound closes the connection if its client, which has shaken hands and speaks HTTP/2, sends
// nothing for d.
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
			_ = t.Close() // with its farewell
		}
	})
}

// conns are the connections that net/http has.
type conns struct {
	byConn   sync.Map // net.Conn to *httpConn
	count    atomic.Int64
	fresh    atomic.Int64 // connections that have shown no request
	last     atomic.Int64 // when a connection last showed one, or ended, in nanoseconds, while draining
	draining atomic.Bool
}

func (s *conns) add(nc net.Conn, l *httpConn) {
	l.fresh.Store(true)
	s.fresh.Add(1)
	s.count.Add(1)
	s.byConn.Store(nc, l)
}

// single is a listener that has one connection: net/http takes it in the goroutine that brings it.
type single struct {
	nc    net.Conn
	conn  *httpConn
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

// context is for http.Server.BaseContext.
func (s *conns) context(l net.Listener) context.Context {
	return connContext{context.Background(), l.(*single).conn}
}

// connContext has the values that belong to a connection.
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

// stackNeed is about what the stack of a connection's goroutine needs for a request.
const stackNeed = 4 << 10

// makeRoom has the stack grow at once, before there is much to move.
//
//go:noinline
func makeRoom(*[stackNeed]byte) {}

func (s *conns) find(nc net.Conn) *httpConn {
	l, ok := s.byConn.Load(nc)
	if !ok {
		return nil
	}
	return l.(*httpConn)
}

// state closes what net/http has closed. A connection that was hijacked is somebody else's.
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
		if l := s.find(nc); l != nil {
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
	l.head.ends()
	s.shown(l)
	s.count.Add(-1)
	return l
}

// shown notes that a connection has shown a request.
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
