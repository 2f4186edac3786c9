package loop

import (
	"fmt"

	"github.com/portluck/portluck/handlers"
	"golang.org/x/sys/unix"
)

// flush writes what the kernel takes of the queue.
func (c *polled) flush() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.flushLocked()
}

// flushLocked writes what the kernel takes of the queue, and FIN behind a farewell.
func (c *polled) flushLocked() {
	if c.broken || c.fd < 0 && !c.openLocked() {
		return
	}
	for !c.broken && c.queuedLocked() > 0 {
		x := c.needLocked() // what is queued may all be encrypted already
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
	if c.ended && !c.shut && !c.broken {
		c.shut = true
		c.closeWriteLocked()
	}
	if c.leaving || c.half && c.shut {
		c.postLocked(doEnd)
	}
	c.resumeLocked()
}

// openLocked makes a descriptor of a connection in its first turn, because something is to be written: its callback takes
// its time, or waits for room.
func (c *polled) openLocked() bool {
	return c.busy && !c.lent && c.queuedLocked() > 0 && c.attachLocked()
}

// resumeLocked goes on with what has waited for room.
func (c *polled) resumeLocked() {
	x := c.x
	if x == nil {
		return
	}
	queued := c.queuedLocked()
	x.asked = min(x.asked, queued)
	if !c.broken && queued > c.loop.maxQueue()/2 {
		return
	}
	if x.waiting > 0 {
		x.room.Broadcast()
	}
	if c.broken || queued == 0 {
		c.drainedLocked()
	}
	if x.held && x.asked <= c.loop.maxReplies()/2 {
		x.held = false
		if x.since != 0 {
			x.since = c.now() // the peer could not go on with its message
		}
		c.postLocked(doRead | doTimer)
	}
}

// drainedLocked tells those that feed the connection to go on.
func (c *polled) drainedLocked() {
	if c.x == nil {
		return
	}
	for _, f := range c.x.feeds {
		c.loop.tasks.Go(f.Drained) // ends when it has fed what there is
	}
	c.x.feeds = nil
}

// blockedLocked has epoll tell when there is room in the kernel, from the first time on that there was none.
func (c *polled) blockedLocked() {
	if !c.blocked {
		c.blocked = true
		c.watchLocked()
	}
}

// queuedLocked is how many bytes wait to be written.
func (c *polled) queuedLocked() int {
	n := c.link.queued()
	if c.x != nil {
		n += len(c.x.out) - c.x.at
	}
	return n
}

// writeLocked writes without waiting. The error is EAGAIN when the kernel takes no more.
func (c *polled) writeLocked(p []byte) (int, error) {
	if c.link != nil {
		return c.link.write(int(c.fd), p)
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
			return n, unix.EAGAIN // it would say so
		default:
			return n, nil
		}
	}
}

// closeWriteLocked sends FIN, or the close_notify of TLS.
func (c *polled) closeWriteLocked() {
	var err error
	if c.link != nil {
		err = c.link.closeWrite(int(c.fd))
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

// writeFailedLocked stops writing. What the peer has sent is still read; unless the peer only reads no more, or has ended
// before, its end is no good one.
func (c *polled) writeFailedLocked(err error) {
	if (deaf(err) || c.eof && !c.cut) && !c.half {
		c.breakLocked(nil)
		return
	}
	c.breakLocked(fmt.Errorf("write: %w", err))
	if c.half || c.paused { // there is nothing to wait for
		c.postLocked(doEnd)
	}
}

func (c *polled) breakLocked(cause error) {
	x := c.needLocked()
	if x.cause == nil {
		x.cause = cause
	}
	x.reason.fail(cause)
	c.broken = true
	c.x.out, c.x.at = nil, 0
	c.link.drop()
	c.wakeLocked()
	c.drainedLocked()
}

// wakeLocked wakes those that wait for room: there will be none.
func (c *polled) wakeLocked() {
	if c.x != nil && c.x.waiting > 0 {
		c.x.room.Broadcast()
	}
}

func (c *polled) endLocked(reason error) {
	c.ended = true
	x := c.needLocked()
	x.out = c.loop.farewell(c.ev, c.codec, x.out, reason)
	c.wakeLocked()
}

// lastWord queues what the codec has answered at the end: nothing that others send may follow it.
func (c *polled) lastWord(m *handlers.Messages) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.replyLocked(m)
	c.eof = c.eof || c.ended // both sides have said goodbye: there is nothing to linger for
	if !c.ended && !c.broken {
		c.endLocked(nil)
	}
}

func (c *polled) replyLocked(m *handlers.Messages) {
	if !c.broken && !c.shut {
		x := c.needLocked()
		x.out = append(x.out, m.Reply...)
		x.asked += len(m.Reply)
	}
	if m.Reply = m.Reply[:0]; cap(m.Reply) > keepOut {
		m.Reply = nil
	}
}

// needLocked is the connection's extra, from now on.
func (c *polled) needLocked() *extra {
	if c.x == nil {
		c.x = extras.Get().(*extra)
	}
	return c.x
}

// tidyLocked gives the extra back if there is nothing in it.
func (c *polled) tidyLocked() {
	x := c.x
	if x == nil || c.turning || x.at < len(x.out) || len(x.part) > 0 || x.waiting > 0 || len(x.feeds) > 0 ||
		x.held || x.kept > 0 || c.leaving || c.broken ||
		x.shakeBy|x.haltBy|x.closeBy|x.since != 0 {
		return
	}
	c.dropLocked()
}

// dropLocked gives the extra back.
func (c *polled) dropLocked() {
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

// compact forgets what was sent of a queue that is never empty.
func (x *extra) compact() {
	if x.at >= len(x.out)-x.at {
		x.out = x.out[:copy(x.out, x.out[x.at:])]
		x.at = 0
	}
}
