package mesh

import (
	"sync"
	"time"
)

// deadline is a time after which a wait ends. Its zero value is none.
type deadline struct {
	mu     sync.Mutex
	timer  *time.Timer
	passed chan struct{} // closed when it has passed; nil before the first use
}

// set moves the deadline; zero is none.
func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil && !d.timer.Stop() {
		<-d.passed // the timer has fired: its func closes the channel
	}
	d.timer = nil
	d.makeLocked()
	if isClosed(d.passed) {
		d.passed = make(chan struct{})
	}
	passed := d.passed
	switch left := time.Until(t); {
	case t.IsZero():
	case left <= 0:
		close(passed)
	default:
		d.timer = time.AfterFunc(left, func() { close(passed) })
	}
}

// wait returns a channel that is closed when the deadline has passed.
func (d *deadline) wait() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.makeLocked()
	return d.passed
}

func (d *deadline) makeLocked() {
	if d.passed == nil {
		d.passed = make(chan struct{})
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// signal wakes all that wait for a change. Its user's lock guards it; the zero value is ready.
type signal struct{ c chan struct{} }

// waitLocked returns a channel that the next wakeLocked closes.
func (s *signal) waitLocked() <-chan struct{} {
	if s.c == nil {
		s.c = make(chan struct{})
	}
	return s.c
}

func (s *signal) wakeLocked() {
	if s.c != nil {
		close(s.c)
		s.c = nil
	}
}
