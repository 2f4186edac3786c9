package httpd

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"time"
)

// laneRelay has net/http make an answer that the lane does not make itself: one that goes on while
// the program works, say. net/http reads the request once more, from a connection in memory, and
// writes the answer to the client.
type laneRelay struct {
	w    http.ResponseWriter
	rc   *http.ResponseController
	conn *relayConn
	read int // bytes of the body that the lane has read

	begun chan struct{} // closed when w is there
	done  chan bool     // gets whether to break the answer off
	over  chan bool     // gets whether the connection may go on
}

type relayKey struct{}

// newLaneRelay returns a relay for the request in.
func newLaneRelay(s *lane, in []byte, read int) *laneRelay {
	l := &laneRelay{read: read, begun: make(chan struct{}), done: make(chan bool, 1), over: make(chan bool, 2)}
	l.conn = &relayConn{in: in, lane: s}
	l.conn.cond.L = &l.conn.mu
	_ = s.handler.relays().Serve(&single{nc: l.conn, relay: l})
	<-l.begun
	return l
}

// relays returns the server of the relays.
func (h *Handler) relays() *http.Server {
	h.relaysOnce.Do(func() {
		var http1 http.Protocols
		http1.SetHTTP1(true)
		h.relayServer = &http.Server{
			Handler: http.HandlerFunc(serveRelay), Protocols: &http1, ErrorLog: h.http1.ErrorLog, MaxHeaderBytes: laneMost,
			BaseContext: func(l net.Listener) context.Context {
				return context.WithValue(context.Background(), relayKey{}, l.(*single).relay)
			},
			ConnState: func(nc net.Conn, to http.ConnState) { nc.(*relayConn).state(to) },
		}
	})
	return h.relayServer
}

// serveRelay lends w to the lane until it has ended its answer.
func serveRelay(w http.ResponseWriter, r *http.Request) {
	l := r.Context().Value(relayKey{}).(*laneRelay)
	l.w, l.rc = w, http.NewResponseController(w)
	l.conn.over = l.over
	_, _ = io.CopyN(io.Discard, r.Body, int64(l.read))
	close(l.begun)
	if <-l.done {
		panic(http.ErrAbortHandler)
	}
}

// finish ends the answer, or breaks it off. It reports whether the connection may have another
// request.
func (l *laneRelay) finish(abort bool) (open bool) {
	l.done <- abort
	open = <-l.over
	l.conn.Close()
	return open && !abort
}

// relayConn is the connection of a relay. Its client sends one request and then waits.
type relayConn struct {
	lane *lane // gets the answer
	over chan bool

	mu     sync.Mutex
	cond   sync.Cond
	in     []byte
	late   bool // the deadline for reading has passed
	closed bool
}

// state learns how the connection fares.
func (c *relayConn) state(to http.ConnState) {
	if to == http.StateIdle || to == http.StateClosed {
		select {
		case c.over <- to == http.StateIdle:
		default:
		}
	}
}

// Read is [net.Conn.Read].
func (c *relayConn) Read(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		switch {
		case c.closed:
			return 0, net.ErrClosed
		case len(c.in) > 0:
			n := copy(p, c.in)
			c.in = c.in[n:]
			return n, nil
		case c.late:
			return 0, os.ErrDeadlineExceeded
		}
		c.cond.Wait()
	}
}

// Write is [net.Conn.Write].
func (c *relayConn) Write(p []byte) (int, error) {
	n, err := c.lane.client.Write(p)
	if err != nil {
		c.lane.breaks()
	}
	return n, err
}

// Close ends a Read.
func (c *relayConn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	c.cond.Broadcast()
	return nil
}

// SetReadDeadline ends a Read if the deadline has passed. net/http sets no others here.
func (c *relayConn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.late = !t.IsZero() && !t.After(time.Now())
	c.cond.Broadcast()
	return nil
}

// The other methods of net.Conn.

func (c *relayConn) SetWriteDeadline(time.Time) error { return nil }
func (c *relayConn) SetDeadline(t time.Time) error    { return c.SetReadDeadline(t) }
func (c *relayConn) LocalAddr() net.Addr              { return c.lane.conn.nc.LocalAddr() }
func (c *relayConn) RemoteAddr() net.Addr             { return c.lane.conn.nc.RemoteAddr() }
