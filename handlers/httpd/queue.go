package httpd

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/portluck/portluck/handlers"
)

// link is what belongs to a connection of net/http.
type link struct {
	conn handlers.Conn
	port handlers.Port
	// spoiled says that a request was answered before its body had ended: what comes next is not a request, however
	// much it may look like one.
	spoiled atomic.Bool
	fresh   atomic.Bool // it has shown no request yet
}

type linkKey struct{}

// sever closes the connection under net/http, which notices. It does not wait, not even for the farewell of TLS.
func (l *link) sever() {
	nc, err := l.conn.NetConn()
	if err != nil {
		return
	}
	if t, ok := nc.(*tls.Conn); ok {
		nc = t.NetConn()
	}
	_ = nc.Close()
}

// queueLen is how many connections may wait for net/http, which takes them at once: more do when there is no more to be
// had of the machine.
const queueLen = 64 << 10

// queue is the listener of the http.Server, and knows the connections that it has given to it.
type queue struct {
	links    sync.Map // net.Conn to *link
	count    atomic.Int64
	fresh    atomic.Int64 // links that have shown no request
	last     atomic.Int64 // when a link showed one, in nanoseconds, while draining
	draining atomic.Bool

	wake chan struct{} // has one when there is something to do for Accept

	mu      sync.Mutex
	waiting []net.Conn
	closed  bool
}

func newQueue() *queue { return &queue{wake: make(chan struct{}, 1)} }

// push queues a connection. It is false when there is no place, or the server is closed.
func (q *queue) push(nc net.Conn, l *link) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed || len(q.waiting) >= queueLen {
		return false
	}
	l.fresh.Store(true)
	q.fresh.Add(1)
	q.count.Add(1)
	q.links.Store(nc, l)
	q.waiting = append(q.waiting, nc)
	q.wakeUp()
	return true
}

func (q *queue) wakeUp() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// Accept is net.Listener's. It also returns what was queued before Close.
func (q *queue) Accept() (net.Conn, error) {
	for {
		nc, closed := q.pop()
		switch {
		case nc != nil:
			return nc, nil
		case closed:
			return nil, net.ErrClosed
		}
		<-q.wake
	}
}

func (q *queue) pop() (nc net.Conn, closed bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) == 0 {
		q.waiting = nil
		return nil, q.closed
	}
	nc, q.waiting[0] = q.waiting[0], nil
	q.waiting = q.waiting[1:]
	return nc, false
}

// Close is net.Listener's.
func (q *queue) Close() error {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.wakeUp()
	return nil
}

// shed closes what net/http did not take before it ended.
func (q *queue) shed() {
	for nc, _ := q.pop(); nc != nil; nc, _ = q.pop() {
		if l := q.forget(nc); l != nil {
			l.conn.Close()
		}
	}
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
	if q.count.Load() == 0 {
		return true
	}
	if last := time.Unix(0, q.last.Load()); last.After(since) {
		since = last
	}
	return q.fresh.Load() == 0 && time.Since(since) > quiet
}

func (q *queue) find(nc net.Conn) *link {
	l, ok := q.links.Load(nc)
	if !ok {
		return nil
	}
	return l.(*link)
}

func (q *queue) context(ctx context.Context, nc net.Conn) context.Context {
	return context.WithValue(ctx, linkKey{}, q.find(nc))
}

// state closes what net/http has closed. A connection that was hijacked is somebody else's.
func (q *queue) state(nc net.Conn, s http.ConnState) {
	switch s {
	case http.StateActive:
		q.shown(q.find(nc))
	case http.StateIdle:
		if l := q.find(nc); l != nil && l.spoiled.Load() {
			hangUp(nc)
		}
	case http.StateClosed:
		if l := q.forget(nc); l != nil {
			l.conn.Close()
		}
	case http.StateHijacked:
		q.forget(nc)
	}
}

func (q *queue) forget(nc net.Conn) *link {
	v, ok := q.links.LoadAndDelete(nc)
	if !ok {
		return nil
	}
	l := v.(*link)
	q.shown(l)
	q.count.Add(-1)
	return l
}

// shown notes that a connection has shown a request.
func (q *queue) shown(l *link) {
	if q.draining.Load() {
		q.last.Store(time.Now().UnixNano())
	}
	if l != nil && l.fresh.Load() && l.fresh.Swap(false) {
		q.fresh.Add(-1)
	}
}
