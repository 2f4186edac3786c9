package portluck

import (
	"container/list"
	"sync"
	"time"
)

// readers holds the connections that are being read, so that a shutdown finds them.
type readers struct {
	mu      sync.Mutex
	set     map[*reader]struct{}
	fresh   list.List     // those that have not been silent for SniffTimeout, oldest first
	most    time.Duration // time that each has left during a shutdown; 0 before
	closing bool          // add fails
}

func (s *readers) add(r *reader) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return false
	}
	if s.set == nil {
		s.set = map[*reader]struct{}{}
	}
	s.set[r] = struct{}{}
	if s.most > 0 {
		r.bound(time.Now().Add(s.most))
	}
	r.grant()
	r.older = s.fresh.PushBack(r)
	if s.fresh.Len() > r.port.srv.maxSniffing() {
		s.shedLocked(s.fresh.Front().Value.(*reader))
	}
	return true
}

// shedLocked ends the Read of r, which has been undecided for longest.
func (s *readers) shedLocked(r *reader) {
	r.shed = true
	s.forgetLocked(r)
	r.bound(passed)
}

func (s *readers) forgetLocked(r *reader) {
	if r.older != nil {
		s.fresh.Remove(r.older)
		r.older = nil
	}
}

func (s *readers) remove(r *reader) {
	s.mu.Lock()
	delete(s.set, r)
	s.forgetLocked(r)
	s.mu.Unlock()
}

// keep exempts r from shedding.
func (s *readers) keep(r *reader) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forgetLocked(r)
}

// settle gives a connection whose route is chosen as long as a handshake may take. It returns
// false if that time is over.
func (s *readers) settle(r *reader) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return false
	}
	r.rebound(r.port.srv.settleTimeout())
	return true
}

// state reports why a Read may have ended early: r is shed, or the server is shutting down.
func (s *readers) state(r *reader) (shed, closing bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return r.shed, s.closing || s.most > 0
}

// hurry gives each connection being read, now or later, d to show its protocol.
func (s *readers) hurry(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.most = d
	for r := range s.set {
		r.bound(time.Now().Add(d))
	}
}

// stop ends all reads. Nothing can be added afterwards.
func (s *readers) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closing = true
	for r := range s.set {
		r.bound(passed)
	}
}

func (s *readers) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.set)
}
