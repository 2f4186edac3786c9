package httpd

import (
	"sync"
	"time"
)

// patience is how long a callback may run before what it wrote is sent, and how long a request may
// take before its client is watched.
const patience = time.Millisecond

// delays calls what has waited for patience. One timer serves all, as most waits end long before it
// fires. Its zero value is ready to use.
type delays struct {
	mu         sync.Mutex
	head, tail *delay // by at
	timer      *time.Timer
	armed      bool // the timer is running
}

// delay is a place in delays.
type delay struct {
	late       delayed
	at         time.Time // when late is called; zero if it is not waiting
	next, prev *delay
}

// delayed is what waits.
type delayed interface {
	// tooLate is called, without a lock, once the wait has taken patience.
	tooLate()
}

// add calls late.tooLate after patience, unless remove is called before. d must not be waiting.
func (c *delays) add(d *delay, late delayed) {
	at := time.Now().Add(patience)
	c.mu.Lock()
	defer c.mu.Unlock()
	d.late, d.at = late, at
	d.prev, d.next = c.tail, nil
	if c.tail != nil {
		c.tail.next = d
	} else {
		c.head = d
	}
	c.tail = d
	c.armLocked(patience)
}

func (c *delays) armLocked(d time.Duration) {
	switch {
	case c.armed:
		return
	case c.timer == nil:
		c.timer = time.AfterFunc(d, c.fire)
	default:
		c.timer.Reset(d)
	}
	c.armed = true
}

// remove ends the wait of d. It does nothing if d is not waiting.
func (c *delays) remove(d *delay) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.removeLocked(d)
}

func (c *delays) removeLocked(d *delay) {
	if d.at.IsZero() {
		return
	}
	if d.prev != nil {
		d.prev.next = d.next
	} else {
		c.head = d.next
	}
	if d.next != nil {
		d.next.prev = d.prev
	} else {
		c.tail = d.prev
	}
	d.prev, d.next, d.at = nil, nil, time.Time{}
}

// fire calls what has waited for patience.
func (c *delays) fire() {
	c.mu.Lock()
	c.armed = false
	var late []delayed
	now := time.Now()
	for d := c.head; d != nil && !d.at.After(now); d = c.head {
		c.removeLocked(d)
		late = append(late, d.late)
	}
	if c.head != nil {
		c.armLocked(c.head.at.Sub(now))
	}
	c.mu.Unlock()
	for _, l := range late {
		l.tooLate()
	}
}
