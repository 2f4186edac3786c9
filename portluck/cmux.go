package portluck

import (
	"context"
	"net"
	"sync"
)

// root is the listener that cmux splits. Its connections are decided already, so cmux only passes
// them on. It ends only when all that was pushed has been taken by a route: cmux would drop what is
// still on its way.
//
// The goroutine in Accept, cmux's, also accepts from one of the port's listeners: a connection
// whose first bytes are there when it is accepted changes goroutines once less.
type root struct {
	mu      sync.Mutex
	cond    sync.Cond
	queue   []*conn
	transit int       // given to cmux, not yet taken by a route
	from    *acceptor // the listener that Accept accepts from, or nil
	asleep  bool      // in from
	closing bool
}

func newRoot() *root {
	r := &root{}
	r.cond.L = &r.mu
	return r
}

// push queues c for cmux. It is false, and c still the caller's, when the root is closed.
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

// acceptFrom has Accept accept from a, until that fails with the error it returns. It is false when
// Accept has a listener already.
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

// Accept is for cmux.
func (r *root) Accept() (net.Conn, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.queue) == 0 {
		switch {
		case r.closing && r.transit == 0:
			if a := r.from; a != nil { // it has come since, and would wait for ever
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

// sleepLocked accepts from a, until it has something or is woken up.
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

// taken says that a route has got a connection from cmux.
func (r *root) taken() {
	r.mu.Lock()
	r.transit--
	if r.closing {
		r.cond.Signal()
	}
	r.mu.Unlock()
}

// Close lets nothing in any more. Accept fails once everything has been taken.
func (r *root) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closing = true
	r.cond.Broadcast()
	return nil
}

// Addr is not asked for: the port has many.
func (r *root) Addr() net.Addr { return &net.TCPAddr{} }
