package httpd

import (
	"context"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// queue is the listener of the http.Server, and knows the connections that it has given to it.
type queue struct {
	ready  chan net.Conn
	closed chan struct{}
	once   sync.Once

	draining atomic.Bool

	mu    sync.Mutex
	links map[net.Conn]*link
	fresh int       // of links that have not shown a request
	last  time.Time // when one was shown
}

func newQueue() *queue {
	return &queue{ready: make(chan net.Conn, 1024), closed: make(chan struct{}), links: map[net.Conn]*link{}}
}

// push queues a connection for net/http, which takes it at once. It is false when the server is closed.
func (q *queue) push(nc net.Conn, l *link) bool {
	q.mu.Lock()
	q.links[nc] = l
	l.fresh = true
	q.fresh++
	q.mu.Unlock()
	select {
	case <-q.closed:
	default:
		select {
		case q.ready <- nc:
			return true
		case <-q.closed:
		}
	}
	q.forget(nc)
	return false
}

// Accept is net.Listener's.
func (q *queue) Accept() (net.Conn, error) {
	select {
	case nc := <-q.ready:
		return nc, nil
	default:
	}
	select {
	case nc := <-q.ready:
		return nc, nil
	case <-q.closed:
		return nil, net.ErrClosed
	}
}

// Close is net.Listener's.
func (q *queue) Close() error {
	q.once.Do(func() { close(q.closed) })
	return nil
}

// Addr is net.Listener's.
func (q *queue) Addr() net.Addr { return &net.TCPAddr{} }

// How long a shutdown waits for the requests that have been sent already: until none has come for quiet, and drainTime at
// the most.
const (
	quiet     = 20 * time.Millisecond
	drainTime = time.Second
)

// drain waits until the requests that have been sent are being served: once net/http shuts down it drops those that it
// reads. The answers given meanwhile tell the client that the connection closes.
func (q *queue) drain(ctx context.Context) {
	q.draining.Store(true)
	ctx, cancel := context.WithTimeout(ctx, drainTime)
	defer cancel()
	tick := time.NewTicker(quiet / 10)
	defer tick.Stop()
	for begin := time.Now(); !q.settled(begin); {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// settled says that every connection has shown a request, and that the last one was a while ago.
func (q *queue) settled(since time.Time) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.links) == 0 {
		return true
	}
	if q.last.After(since) {
		since = q.last
	}
	return q.fresh == 0 && time.Since(since) > quiet
}

func (q *queue) context(ctx context.Context, nc net.Conn) context.Context {
	q.mu.Lock()
	defer q.mu.Unlock()
	return context.WithValue(ctx, linkKey{}, q.links[nc])
}

// state closes what net/http has closed. A connection that was hijacked is somebody else's.
func (q *queue) state(nc net.Conn, s http.ConnState) {
	switch s {
	case http.StateActive:
		q.shown(nc)
	case http.StateClosed:
		if l := q.forget(nc); l != nil {
			l.conn.Close()
		}
	case http.StateHijacked:
		q.forget(nc)
	case http.StateIdle:
		q.mu.Lock()
		l := q.links[nc]
		q.mu.Unlock()
		if l != nil && l.spoiled.Load() {
			hangUp(nc)
		}
	}
}

// lingerTime is how long a client has to read the answer to a request whose body we do not want.
const lingerTime = 500 * time.Millisecond

// hangUp closes a connection that the client may still be sending on: first our half, for a reset would cost the client
// the answer (RFC 9112, section 9.6).
func hangUp(nc net.Conn) {
	if c, ok := nc.(interface{ CloseWrite() error }); ok {
		_ = c.CloseWrite()
	}
	time.AfterFunc(lingerTime, func() { nc.Close() })
}

func (q *queue) forget(nc net.Conn) *link {
	q.mu.Lock()
	defer q.mu.Unlock()
	l := q.links[nc]
	delete(q.links, nc)
	q.shownLocked(l)
	return l
}

// shown notes that a connection has shown a request.
func (q *queue) shown(nc net.Conn) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.last = time.Now()
	q.shownLocked(q.links[nc])
}

func (q *queue) shownLocked(l *link) {
	if l != nil && l.fresh {
		l.fresh = false
		q.fresh--
	}
}
