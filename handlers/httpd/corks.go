package httpd

import (
	"sync"
	"time"
)

// patience is how long a callback may run before what it wrote is sent.
const patience = time.Millisecond

// corks are the answers that wait for the end of a turn. One timer looks after all of them, for
// most are gone long before it fires.
type corks struct {
	mu         sync.Mutex
	head, tail *answer // by uncorkAt
	timer      *time.Timer
	armed      bool // the timer is running
}

// add has a.uncork called after patience, unless remove is called before.
func (c *corks) add(a *answer) {
	at := time.Now().Add(patience)
	c.mu.Lock()
	defer c.mu.Unlock()
	a.uncorkAt = at
	a.prev, a.next = c.tail, nil
	if c.tail != nil {
		c.tail.next = a
	} else {
		c.head = a
	}
	c.tail = a
	c.armLocked(patience)
}

func (c *corks) armLocked(d time.Duration) {
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

// remove does nothing if a is not there.
func (c *corks) remove(a *answer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.removeLocked(a)
}

func (c *corks) removeLocked(a *answer) {
	if a.uncorkAt.IsZero() {
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
	a.prev, a.next, a.uncorkAt = nil, nil, time.Time{}
}

// fire uncorks those whose time has come.
func (c *corks) fire() {
	c.mu.Lock()
	c.armed = false
	var late []*answer
	now := time.Now()
	for a := c.head; a != nil && !a.uncorkAt.After(now); a = c.head {
		c.removeLocked(a)
		late = append(late, a)
	}
	if c.head != nil {
		c.armLocked(c.head.uncorkAt.Sub(now))
	}
	c.mu.Unlock()
	for _, a := range late {
		a.uncork()
	}
}
