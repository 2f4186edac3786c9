package portluck

import (
	"context"
	"net"
	"sync"
)

// root is the listener that cmux splits. Its connections are already classified, so cmux only
// passes them on. After Close, Accept fails only once a route has taken every pushed connection:
// cmux would drop those in transit.
//
// The goroutine in Accept, which is cmux's, also accepts from one of the port's listeners. A
// connection whose first bytes are there when it is accepted then needs one goroutine switch less.
type root struct {
	mu      sync.Mutex
	cond    sync.Cond
	queue   []*conn
	transit int       // given to cmux, not yet taken by a route
	from    *acceptor // the listener that Accept accepts from, or nil
	asleep  bool      // Accept is in from.src.accept
	closing bool
}

func newRoot() *root {
	r := &root{}
	r.cond.L = &r.mu
	return r
}

// push queues c for cmux. It returns false if the root is closed; the caller then keeps c.
func (r *root) push(c *conn) bool {
	r.mu.Lock()
	if r.closing {
		r.mu.Unlock()
		return false
	}
	r.queue = append(r.queue, c)
	r.cond.Signal()
	wake := r.from
	if !r.asleep || c.inRoot {
		wake = nil
	}
	r.mu.Unlock()
	if wake != nil {
		wake.src.stop(context.Background())
	}
	return true
}

// acceptFrom makes Accept accept from a, waits until that fails, and returns the error. It returns
// false at once if Accept already has a listener or the root is closing.
func (r *root) acceptFrom(a *acceptor) (error, bool) {
	r.mu.Lock()
	if r.from != nil || r.closing {
		r.mu.Unlock()
		return nil, false
	}
	r.from = a
	r.cond.Signal()
	r.mu.Unlock()
	return <-a.failed, true
}

// Accept implements [net.Listener] for cmux.
func (r *root) Accept() (net.Conn, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.queue) == 0 {
		switch {
		case r.closing && r.transit == 0:
			if a := r.from; a != nil { // acceptFrom set it meanwhile, and would wait for ever
				r.from = nil
				a.failed <- net.ErrClosed
			}
			return nil, net.ErrClosed
		case r.from != nil:
			r.sleepLocked(r.from)
		default:
			r.cond.Wait()
		}
	}
	c := r.queue[0]
	r.queue[0] = nil
	r.queue = r.queue[1:]
	r.transit++
	return c, nil
}

// sleepLocked accepts from a, until something is accepted or push wakes it.
func (r *root) sleepLocked(a *acceptor) {
	r.asleep = true
	r.mu.Unlock()
	err := a.src.accept(true)
	if a.resumes(err) {
		err = nil
	}
	r.mu.Lock()
	r.asleep = false
	if err != nil {
		r.from = nil
		a.failed <- err
	}
}

// taken records that a route has received a connection from cmux.
func (r *root) taken() {
	r.mu.Lock()
	r.transit--
	if r.closing {
		r.cond.Signal()
	}
	r.mu.Unlock()
}

// Close makes push fail. Accept fails once every pushed connection has been taken.
func (r *root) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closing = true
	r.cond.Broadcast()
	return nil
}

// Addr returns an empty address: the port has many, and nobody calls Addr.
func (r *root) Addr() net.Addr { return &net.TCPAddr{} }
