package loop

import (
	"fmt"

	"github.com/portluck/portluck/handlers"
	"golang.org/x/sys/unix"
)

// flush writes as much of the queue as the kernel accepts.
func (c *epollConn) flush() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.flushLocked()
}

// flushLocked writes as much of the queue as the kernel accepts, and FIN after a farewell.
func (c *epollConn) flushLocked() {
	if c.sending == sendingBroken || c.fd < 0 {
		return
	}
	for c.sending < sendingBroken && c.queuedLocked() > 0 {
		x := c.needLocked() // the rest of the queue may be in the TLS link
		n, err := c.writeLocked(x.out[x.at:])
		if n > 0 {
			c.active.Store(uint32(c.now()))
			x.at += n
		}
		switch {
		case err == unix.EAGAIN:
			x.compact()
			c.blockedLocked()
			c.resumeLocked()
			return
		case err != nil:
			c.writeFailedLocked(err)
		}
	}
	if x := c.x; x != nil {
		x.resetOut()
	}
	if c.sending == sendingFarewell {
		c.sending = sendingFIN
		c.closeWriteLocked()
	}
	if c.life >= lifeLeaving || c.life == lifeHalfOpen && c.sending == sendingFIN {
		c.postLocked(doEnd)
	}
	c.resumeLocked()
}

// resumeLocked resumes what has waited for room.
func (c *epollConn) resumeLocked() {
	x := c.x
	if x == nil {
		return
	}
	queued := c.queuedLocked()
	x.asked = min(x.asked, queued)
	if c.sending < sendingBroken && queued > c.loop.maxQueue()/2 {
		return
	}
	if x.waiting > 0 {
		x.room.Broadcast()
	}
	if c.sending == sendingBroken || queued == 0 {
		c.drainedLocked()
	}
	if x.held && x.asked <= c.loop.maxReplies()/2 {
		x.held = false
		if x.since != 0 {
			x.since = c.now() // the peer could not continue its message
		}
		c.postLocked(doRead | doTimer)
	}
}

// drainedLocked calls the Drainers that wait for an empty queue.
func (c *epollConn) drainedLocked() {
	if c.x == nil {
		return
	}
	for _, f := range c.x.feeds {
		c.loop.tasks.Go(f.Drained) // ends when it has fed what it has
	}
	c.x.feeds = nil
}

// blockedLocked makes epoll report writability from now on: a write has blocked.
func (c *epollConn) blockedLocked() {
	if !c.blocked {
		c.blocked = true
		c.watchLocked()
	}
}

// queuedLocked returns how many bytes wait to be written.
func (c *epollConn) queuedLocked() int {
	n := c.tls.queued()
	if c.x != nil {
		n += len(c.x.out) - c.x.at
	}
	return n
}

// writeLocked writes without waiting. It returns EAGAIN when the kernel accepts no more.
func (c *epollConn) writeLocked(p []byte) (int, error) {
	if c.tls != nil {
		return c.tls.write(int(c.fd), p)
	}
	return writeFD(int(c.fd), p)
}

func writeFD(fd int, p []byte) (int, error) {
	for {
		n, err := send(fd, p)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return 0, err
		case n < len(p):
			return n, unix.EAGAIN // another write would fail with it
		default:
			return n, nil
		}
	}
}

// closeWriteLocked sends FIN, or the close_notify of TLS.
func (c *epollConn) closeWriteLocked() {
	var err error
	if c.tls != nil {
		err = c.tls.closeWrite(int(c.fd))
	} else {
		err = unix.Shutdown(int(c.fd), unix.SHUT_WR)
	}
	switch err {
	case nil:
	case unix.EAGAIN:
		c.blockedLocked()
	default:
		c.writeFailedLocked(err)
	}
}

// writeFailedLocked stops writing. Input is still read. The end is not clean, unless the peer has
// only stopped reading or has already ended.
func (c *epollConn) writeFailedLocked(err error) {
	half := c.life == lifeHalfOpen || c.x != nil && c.x.half
	if (deaf(err) || c.eof && !c.cut) && !half {
		c.breakLocked(nil)
		return
	}
	c.breakLocked(fmt.Errorf("write: %w", err))
	if half || c.paused { // nothing more will be read
		c.postLocked(doEnd)
	}
}

func (c *epollConn) breakLocked(cause error) {
	x := c.needLocked()
	if x.cause == nil {
		x.cause = cause
	}
	x.reason.fail(cause)
	if c.sending < sendingBroken {
		x.ended = c.sending > sendingOpen
		c.sending = sendingBroken
	}
	c.x.out, c.x.at = nil, 0
	c.tls.drop()
	c.wakeLocked()
	c.drainedLocked()
}

// wakeLocked wakes the writers that wait for room, as there will be none.
func (c *epollConn) wakeLocked() {
	if c.x != nil && c.x.waiting > 0 {
		c.x.room.Broadcast()
	}
}

func (c *epollConn) endLocked(reason error) {
	c.sending = sendingFarewell
	x := c.needLocked()
	x.out = c.loop.farewell(c.ev, c.codec, x.out, reason)
	c.wakeLocked()
}

// lastWord queues the last replies of the codec. Nothing may be queued after them.
func (c *epollConn) lastWord(m *handlers.Messages) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.replyLocked(m)
	c.eof = c.eof || c.sending > sendingOpen // both sides have ended: no need to linger
	if c.sending == sendingOpen {
		c.endLocked(nil)
	}
}

func (c *epollConn) replyLocked(m *handlers.Messages) {
	if c.sending < sendingFIN {
		x := c.needLocked()
		x.out = append(x.out, m.Reply...)
		x.asked += len(m.Reply)
	}
	if m.Reply = m.Reply[:0]; cap(m.Reply) > keepOut {
		m.Reply = nil
	}
}

// needLocked returns the connection's extra, which it creates if there is none.
func (c *epollConn) needLocked() *extra {
	if c.x == nil {
		c.x = extras.Get().(*extra)
	}
	return c.x
}

// tidyLocked frees the extra if it holds nothing.
func (c *epollConn) tidyLocked() {
	x := c.x
	if x == nil || c.turning || x.at < len(x.out) || len(x.part) > 0 || x.waiting > 0 || len(x.feeds) > 0 ||
		x.held || x.kept > 0 || c.life >= lifeLeaving || c.sending == sendingBroken ||
		x.shakeBy|x.haltBy|x.closeBy|x.since != 0 {
		return
	}
	c.dropLocked()
}

// dropLocked frees the extra.
func (c *epollConn) dropLocked() {
	x := c.x
	if x == nil || x.waiting > 0 {
		return
	}
	x.resetOut()
	*x = extra{out: x.out}
	extras.Put(x)
	c.x = nil
}

// resetOut empties the queue.
func (x *extra) resetOut() {
	if x.at = 0; cap(x.out) > keepOut {
		x.out = nil
	}
	x.out = x.out[:0]
}

// compact drops the sent bytes of a queue that is never empty.
func (x *extra) compact() {
	if x.at >= len(x.out)-x.at {
		x.out = x.out[:copy(x.out, x.out[x.at:])]
		x.at = 0
	}
}
