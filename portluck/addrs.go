package portluck

import (
	"net"
	"slices"
	"sync"
)

// addrs holds the addresses that a server listens on, in the order in which it began to.
type addrs struct {
	mu  sync.Mutex
	all []*net.Addr
}

// add returns a func that removes a again.
func (s *addrs) add(a net.Addr) (remove func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, &a)
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.all = slices.DeleteFunc(s.all, func(p *net.Addr) bool { return p == &a })
	}
}

// Addrs returns the addresses of the listeners and sockets that the server serves now, in the
// order in which Serve and ServePacket were called for them; none before and after. Any goroutine
// may call it.
func (s *Server) Addrs() []net.Addr {
	s.addrs.mu.Lock()
	defer s.addrs.mu.Unlock()
	var all []net.Addr
	for _, a := range s.addrs.all {
		all = append(all, *a)
	}
	return all
}

// listens adds a to Addrs, calls OnListening, and returns a func that removes a.
func (p *port) listens(a net.Addr) (done func()) {
	done = p.srv.addrs.add(a)
	if f := p.srv.OnListening; f != nil {
		returned := make(chan struct{})
		p.Go(func() { // f may end its goroutine
			defer close(returned)
			f(a)
		})
		<-returned
	}
	return done
}
