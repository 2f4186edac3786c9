package loop

import (
	"math"
	"time"

	"github.com/portluck/portluck/handlers"
	"golang.org/x/sys/unix"
)

// halted ends a connection during shutdown, once its peer has been quiet for a moment or its
// deadline has passed.
func (c *epollConn) halted(r *runner) {
	c.mu.Lock()
	now := c.now()
	end := c.life >= lifeLeaving || c.sinceActive(now) >= uint64(quiet/time.Millisecond) || now >= c.x.haltBy
	c.mu.Unlock()
	if end {
		c.leave(handlers.ErrShutdown)
		return
	}
	time.AfterFunc(quiet, func() { c.post(doHalt | doRead) })
}

// sinceActive returns the milliseconds since a byte was last read or written. It returns 0 if
// another goroutine has noted one later than now.
func (c *epollConn) sinceActive(now uint64) uint64 {
	age := uint32(now) - c.active.Load()
	if age > math.MaxUint32-uint32(time.Minute/time.Millisecond) {
		return 0
	}
	return uint64(age)
}

// hear records that the peer has sent something.
func (c *epollConn) hear(now uint64) {
	c.active.Store(uint32(now))
	c.heard, c.asked = uint32(now), false
}

// checkDeadline ends a connection whose deadline had passed at then, the result of lateAt before
// the connection was read. Otherwise it schedules the next look, at once if the deadline has passed
// since.
func (c *epollConn) checkDeadline(then uint64) {
	c.mu.Lock()
	if c.life == lifeOver {
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
			c.loop.poller.schedule(c, due) // under mu, or it might postpone End's deadline
		}
		c.mu.Unlock()
		return
	}
	// Queued data is lost.
	if x := c.x; x != nil && x.closeBy != 0 && c.queuedLocked() > 0 && (c.life < lifeLeaving || x.why == nil) {
		c.life, x.why = max(c.life, lifeLeaving), handlers.ErrSlow
		x.reason.fail(handlers.ErrSlow)
	}
	if c.life >= lifeLeaving {
		c.finishLocked()
		return
	}
	c.mu.Unlock()
	c.leave(err)
}

// lateAt returns the current time if the peer's deadline seems to have passed, otherwise 0. The
// deadline is enforced only after a read, and as of this time, because the process may have been
// suspended while bytes arrived.
func (c *epollConn) lateAt() (now uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.readsLocked() {
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
func (c *epollConn) readsLocked() bool { return c.life < lifeLeaving && c.fd >= 0 && c.watched }

// hasMoment grants a late peer that has just sent something a single grace period for the rest. It
// reports whether it did.
func (c *epollConn) hasMoment() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	if due, _ := c.dueLocked(now); c.life >= lifeLeaving || c.late || due == 0 || due > now {
		return false
	}
	c.late = true
	c.loop.poller.schedule(c, now+uint64(readFirst/time.Millisecond))
	return true
}

// overdueLocked ends a connection past the deadline of a peer that does not read. The owner may be
// in a callback that waits for this peer and so cannot check the deadline.
func (c *epollConn) overdueLocked() {
	due := c.slowByLocked()
	switch {
	case due == 0 || c.x == nil || c.x.waiting == 0:
	case due > c.now():
		c.loop.poller.schedule(c, due)
	default:
		c.flags.Or(flagDestroyed)
		c.breakLocked(handlers.ErrSlow)
		if c.fd >= 0 {
			_ = unix.Shutdown(int(c.fd), unix.SHUT_RDWR)
		}
	}
}

// slowByLocked returns when a peer that does not read is too slow; 0 means never.
func (c *epollConn) slowByLocked() (due uint64) {
	if c.loop.Timeout <= 0 {
		return 0
	}
	now := c.now()
	return now - c.sinceActive(now) + uint64(c.loop.Timeout/time.Millisecond)
}

// dueLocked returns when the connection must end and why; 0 means never.
func (c *epollConn) dueLocked(now uint64) (due uint64, err error) {
	l := c.loop
	switch {
	case c.x != nil && c.x.closeBy != 0:
		return c.x.closeBy, nil
	case c.life >= lifeLeaving:
		return 0, nil
	case c.life == lifeHandshaking:
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

// lostByLocked pings a peer that has been silent for the interval. It returns when to ping the peer
// or declare it lost; 0 means never.
func (c *epollConn) lostByLocked(now uint64) (by uint64) {
	interval := uint64(max(c.loop.PingInterval, 0) / time.Millisecond)
	p, ok := c.codec.(handlers.Pinger)
	if interval == 0 || !ok || c.sending > sendingOpen || c.life == lifeHalfOpen {
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

// shakeByLocked returns the deadline of the handshake.
func (c *epollConn) shakeByLocked(now uint64) uint64 {
	l := c.loop
	if l.HandshakeTimeout <= 0 {
		return 0
	}
	if x := c.needLocked(); x.shakeBy == 0 {
		x.shakeBy = now + uint64(l.HandshakeTimeout/time.Millisecond)
	}
	return c.x.shakeBy
}
