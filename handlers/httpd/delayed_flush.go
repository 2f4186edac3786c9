package httpd

import (
	"sync"
	"time"
)

// patience is how long a callback may run before what it wrote is sent.
const patience = time.Millisecond

// delayedFlushes holds the answers whose bytes wait for the end of a turn. One timer serves them
// all, as most answers are sent long before it fires.
type delayedFlushes struct {
	mu         sync.Mutex
	head, tail *answer // by flushTime
	timer      *time.Timer
	armed      bool // the timer is running
}

// add calls a.flushLate after patience, unless remove is called before.
func (c *delayedFlushes) add(a *answer) {
	at := time.Now().Add(patience)
	c.mu.Lock()
	defer c.mu.Unlock()
	a.flushTime = at
	a.prev, a.next = c.tail, nil
	if c.tail != nil {
		c.tail.next = a
	} else {
		c.head = a
	}
	c.tail = a
	c.armLocked(patience)
}

func (c *delayedFlushes) armLocked(d time.Duration) {
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

// remove removes a. It does nothing if a is not there.
func (c *delayedFlushes) remove(a *answer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.removeLocked(a)
}

func (c *delayedFlushes) removeLocked(a *answer) {
	if a.flushTime.IsZero() {
		return
	}
	if a.prev != nil {
		a.prev.next = a.next
	} else {
		c.head = a.next
	}
	if a.next != nil {
		a.next.prev = a.prev
	} else {
		c.tail = a.prev
	}
	a.prev, a.next, a.flushTime = nil, nil, time.Time{}
}

// fire flushes the answers whose flushTime has passed.
func (c *delayedFlushes) fire() {
	c.mu.Lock()
	c.armed = false
	var late []*answer
	now := time.Now()
	for a := c.head; a != nil && !a.flushTime.After(now); a = c.head {
		c.removeLocked(a)
		late = append(late, a)
	}
	if c.head != nil {
		c.armLocked(c.head.flushTime.Sub(now))
	}
	c.mu.Unlock()
	for _, a := range late {
		a.flushLate()
	}
}
