package loop

import (
	"math"
	"time"

	"github.com/portluck/portluck/handlers"
	"golang.org/x/sys/unix"
)

// halted ends a connection whose peer has been quiet for a moment, or when its time is up.
func (c *polled) halted(r *runner) {
	c.mu.Lock()
	now := c.now()
	end := c.leaving || c.over || c.sinceActive(now) >= uint64(quiet/time.Millisecond) || now >= c.x.haltBy
	c.mu.Unlock()
	if end {
		c.leave(handlers.ErrShutdown)
		return
	}
	time.AfterFunc(quiet, func() { c.post(doHalt | doRead) })
}

// sinceActive is how long no byte has come or gone. What has come after now, in another goroutine, is no age.
func (c *polled) sinceActive(now uint64) uint64 {
	age := uint32(now) - c.active.Load()
	if age > math.MaxUint32-uint32(time.Minute/time.Millisecond) {
		return 0
	}
	return uint64(age)
}

// hear notes that the peer has sent something.
func (c *polled) hear(now uint64) {
	c.active.Store(uint32(now))
	c.heard, c.asked = uint32(now), false
}

// timer ends a connection whose deadline had passed by then, or looks again when it will have, at once if
// it has passed since. then is what isLate returned before the connection was read.
func (c *polled) timer(then uint64) {
	c.mu.Lock()
	if c.over || c.lent {
		c.mu.Unlock()
		return
	}
	now := c.now()
	if !c.readsLocked() {
		then = now
	}
	due, err := c.dueLocked(now)
	if due == 0 || due > then {
		if due != 0 {
			c.loop.poller.schedule(c, due) // under mu: a later call must not put off the deadline that End sets
		}
		c.mu.Unlock()
		return
	}
	if x := c.x; x != nil && x.closeBy != 0 && c.queuedLocked() > 0 && (!c.leaving || x.why == nil) { // something is lost
		c.leaving, x.why = true, handlers.ErrSlow
		x.reason.fail(handlers.ErrSlow)
	}
	if c.leaving {
		c.finishLocked()
		return
	}
	c.mu.Unlock()
	c.leave(err)
}

// isLate returns the time if the peer's time seems to be up, and else 0. It is judged by that only after
// a read, and by no later time: the process may have stood still while bytes came.
func (c *polled) isLate() (now uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over || c.lent || !c.readsLocked() {
		return 0
	}
	now = c.now()
	due, _ := c.dueLocked(now)
	if due != 0 && due <= now {
		return now
	}
	c.late = false
	return 0
}

// readsLocked reports whether the connection is read.
func (c *polled) readsLocked() bool { return !c.leaving && c.fd >= 0 && c.watched }

// hasMoment gives a peer of which something was read a moment for the rest, if its time is still up:
// one moment, as it may go on sending. It is false when the connection is ending.
func (c *polled) hasMoment() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	if due, _ := c.dueLocked(now); c.over || c.lent || c.leaving || c.late || due == 0 || due > now {
		return false
	}
	c.late = true
	c.loop.poller.schedule(c, now+uint64(readFirst/time.Millisecond))
	return true
}

// overdueLocked ends a connection whose peer takes nothing, when its time is up. Its owner may be in a callback that waits
// for the peer, and would not look at the deadline.
func (c *polled) overdueLocked() {
	due := c.slowByLocked()
	switch {
	case due == 0 || c.x == nil || c.x.waiting == 0:
	case due > c.now():
		c.loop.poller.schedule(c, due)
	default:
		c.dead.Store(true)
		c.breakLocked(handlers.ErrSlow)
		if c.fd >= 0 {
			_ = unix.Shutdown(int(c.fd), unix.SHUT_RDWR)
		}
	}
}

// slowByLocked is when a peer that takes nothing is too slow; 0 for never.
func (c *polled) slowByLocked() (due uint64) {
	if c.loop.Timeout <= 0 {
		return 0
	}
	now := c.now()
	return now - c.sinceActive(now) + uint64(c.loop.Timeout/time.Millisecond)
}

// dueLocked is when the connection is to end and why; 0 for never.
func (c *polled) dueLocked(now uint64) (due uint64, err error) {
	l := c.loop
	switch {
	case c.x != nil && c.x.closeBy != 0:
		return c.x.closeBy, nil
	case c.leaving:
		return 0, nil
	case c.shake:
		return c.shakeByLocked(now), handlers.ErrTimeout
	case l.Timeout > 0:
		due, err = c.slowByLocked(), handlers.ErrTimeout
		if c.queuedLocked() > 0 {
			err = handlers.ErrSlow
		}
	}
	if by := c.lostByLocked(now); by != 0 && (due == 0 || by < due) {
		due, err = by, handlers.ErrTimeout
	}
	if x := c.x; l.MessageTimeout > 0 && x != nil && x.since != 0 && !x.held {
		if by := x.since + uint64(l.MessageTimeout/time.Millisecond); due == 0 || by < due {
			return by, handlers.ErrTimeout
		}
	}
	return due, err
}

// lostByLocked pings a peer that has been silent for the interval. It returns when the peer is to be
// pinged, or is lost; 0 for never.
func (c *polled) lostByLocked(now uint64) (by uint64) {
	interval := uint64(max(c.loop.PingInterval, 0) / time.Millisecond)
	p, ok := c.codec.(handlers.Pinger)
	if interval == 0 || !ok || c.ended || c.broken || c.half {
		return 0
	}
	if !c.asked {
		by = now - uint64(uint32(now)-c.heard) + interval + uint64(c.slot)*977%(interval/8+1)
		if by > now {
			return by
		}
		c.asked = true
		x := c.needLocked()
		x.out = p.AppendPing(x.out)
		c.flushLocked()
		c.tidyLocked()
		return now + interval
	}
	return now - c.sinceActive(now) + interval
}

// shakeByLocked is when the handshake must be complete.
func (c *polled) shakeByLocked(now uint64) uint64 {
	l := c.loop
	if l.HandshakeTimeout <= 0 {
		return 0
	}
	if x := c.needLocked(); x.shakeBy == 0 {
		x.shakeBy = now + uint64(l.HandshakeTimeout/time.Millisecond)
	}
	return c.x.shakeBy
}
