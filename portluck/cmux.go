package portluck

import (
	"net"
	"slices"
	"sync"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/loop"
	"github.com/soheilhy/cmux"
)

// root is the listener that cmux splits. Its connections are already classified, so cmux only
// passes them on. After Close, Accept fails only once a route has taken every pushed connection:
// cmux would drop those in transit.
type root struct {
	mu      sync.Mutex
	cond    sync.Cond
	queue   []*conn
	at      int // queue[at:] waits
	transit int // given to cmux, not yet taken by a route
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
	if r.at > 0 && len(r.queue) == cap(r.queue) { // rather than grow
		n := copy(r.queue, r.queue[r.at:])
		clear(r.queue[n:])
		r.queue, r.at = r.queue[:n], 0
	}
	r.queue = append(r.queue, c)
	r.cond.Signal()
	r.mu.Unlock()
	return true
}

// keepQueue is the capacity of the longest empty queue that is kept.
const keepQueue = 1 << 10

// Accept implements [net.Listener] for cmux.
func (r *root) Accept() (net.Conn, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.at == len(r.queue) {
		if r.closing && r.transit == 0 {
			return nil, net.ErrClosed
		}
		r.cond.Wait()
	}
	c := r.queue[r.at]
	r.queue[r.at] = nil
	if r.at++; r.at == len(r.queue) {
		if r.queue, r.at = r.queue[:0], 0; cap(r.queue) > keepQueue {
			r.queue = nil
		}
	}
	r.transit++
	return c, nil
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

// dispatch sends a classified connection through cmux to its route.
func (p *port) dispatch(c *conn, r *route, first []byte) {
	c.decided(r, first)
	p.heading.add(r.inline && p.loop.Driver != loop.Goroutines)
	if r == p.named.unmatched && p.srv.OnUnmatched == handlers.Refuse {
		p.log.unmatched(c.Info())
	}
	if !p.root.push(c) {
		p.drop(c, handlers.ErrShutdown)
	}
}

// decided records the verdict.
func (c *conn) decided(r *route, first []byte) {
	c.route = r
	if c.info.Route = r.name; r.own {
		c.info.Protocol = r.name
	}
	r.count.Add(1)
	if c.port.srv.OnVerdict != nil {
		c.first = bytesOf(first)
	}
}

// verdict calls OnVerdict.
func (p *port) verdict(c *conn) {
	if f := p.srv.OnVerdict; f != nil {
		f(Verdict{Route: c.route.name, Info: c.Info(), First: c.first})
		c.first = nil
	}
}

// bytesOf copies up to 64 of the first bytes, for OnVerdict.
func bytesOf(b []byte) []byte { return slices.Clone(b[:min(64, len(b))]) }

// idleWorkers is the maximum number of goroutines that wait for the connections of one route.
const idleWorkers = 4

// staff makes sure that a goroutine waits for the connections of r.
func (p *port) staff(r *route) {
	if r.idle.CompareAndSwap(0, 1) {
		// ends when cmux closes the route, or when others wait
		p.workers.Go(func() { p.acceptRoute(r) })
	}
}

// acceptRoute passes the connections that cmux gives the route to its handler. A connection that
// the handler attaches to the loop is driven in this goroutine, which saves starting one; another
// goroutine takes its place.
func (p *port) acceptRoute(r *route) {
	for {
		mc, err := r.sub.Accept()
		if err != nil {
			return
		}
		c := mc.(*cmux.MuxConn).Conn.(*conn)
		r.idle.Add(-1)
		p.serve(r, c)
		p.root.taken()
		if run := c.run; run != nil {
			c.run = nil
			p.staff(r)
			run()
		}
		if r.idle.Add(1) > idleWorkers {
			r.idle.Add(-1)
			return
		}
	}
}

// serve calls OnVerdict and the handler. A panic ends this connection only.
func (p *port) serve(r *route, c *conn) {
	err := handlers.GuardExit(func() {
		if p.srv.OnVerdict != nil {
			p.staff(r) // it may take long
			p.verdict(c)
		}
		r.handler.Serve(c, p)
	}, func(err error) { // the program called runtime.Goexit
		p.broken(c, err)
		p.root.taken()
		p.staff(r)
		if run := c.run; run != nil {
			go run() // ends with the connection; Shutdown waits for it
		}
	})
	if err != nil {
		p.broken(c, err)
	}
}
