package loop

import (
	"time"

	"github.com/portluck/portluck/handlers"
	"golang.org/x/sys/unix"
)

// leave ends the connection for reason, nil for a clean end. It tells the peer and closes once that
// is written.
func (c *epollConn) leave(reason error) {
	c.mu.Lock()
	c.leaveLocked(reason)
	c.mu.Unlock()
	c.settle()
}

// leaveLocked is like leave but leaves the first call of settle to the caller.
func (c *epollConn) leaveLocked(reason error) {
	if c.life >= lifeLeaving {
		return
	}
	x := c.needLocked()
	c.life, x.half = lifeLeaving, c.life == lifeHalfOpen
	x.why = reason
	x.reason.fail(reason)
	c.dropPartLocked()
	if c.sending == sendingOpen {
		c.endLocked(reason)
	}
	if c.eof && c.tls == nil { // closing sends the FIN, but not a close_notify
		c.sending = max(c.sending, sendingFIN)
	}
	c.flushLocked()
}

// settle advances a leaving connection: it writes the queue, sends our FIN and waits briefly for
// the peer's. Closing with unread bytes would reset the connection, and the peer would lose our
// last bytes (RFC 9112, section 9.6).
func (c *epollConn) settle() {
	c.mu.Lock()
	if c.life == lifeOver {
		c.mu.Unlock()
		return
	}
	if c.life == lifeHalfOpen && c.sending == sendingFIN { // both sides have ended
		c.life, c.needLocked().half = lifeLeaving, true
	}
	switch {
	case c.sending == sendingBroken || c.fd < 0:
		c.finishLocked()
		return
	case c.life < lifeLeaving:
	case c.queuedLocked() > 0:
		c.byLocked(c.loop.closeTimeout())
	case c.eof || c.x.why == handlers.ErrTimeout:
		c.finishLocked()
		return
	case c.life == lifeLeaving:
		c.life = lifeLingering
		c.x.closeBy = 0
		c.byLocked(c.loop.lingerTime())
		c.todo |= doRead
	}
	c.mu.Unlock()
}

// LogPanic is [Conn.LogPanic].
func (c *epollConn) LogPanic(err error) { c.loop.panicked(c.ev, err) }

// byLocked bounds the rest of the connection's life to d from now, unless it has a bound.
func (c *epollConn) byLocked(d time.Duration) {
	if c.x.closeBy == 0 {
		c.x.closeBy = c.now() + uint64(d/time.Millisecond)
		c.loop.poller.schedule(c, c.x.closeBy)
	}
}

// finishLocked closes the connection and reports its end to the client. It unlocks mu.
func (c *epollConn) finishLocked() {
	c.life, c.sending = lifeOver, sendingBroken
	err := error(nil)
	if x := c.x; x != nil {
		err = x.reason.err
	}
	c.loop.poller.dismiss(c)
	if c.fd >= 0 {
		_ = unix.Close(int(c.fd))
	}
	c.fd = -1
	c.wakeLocked()
	c.drainedLocked()
	c.dropPartLocked() // a waiting writer still needs the rest of x
	c.dropLocked()
	c.mu.Unlock()
	c.place.Close()
	defer c.loop.poller.left() // also if the callback ends its goroutine
	c.loop.panicked(c.ev, err)
	c.ev.Disconnect(err)
}
