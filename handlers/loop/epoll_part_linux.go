package loop

import (
	"time"

	"github.com/portluck/portluck/handlers/internal/parts"
)

// smallPart is the largest incomplete message that is copied in front of the next read. A longer
// one is read into its own buffer.
const smallPart = 16 << 10

// space returns the buffer for the next read and how many of its bytes hold the incomplete message.
func (c *epollConn) space(r *runner) (buf []byte, have int) {
	if !c.part {
		return r.buffer(0), 0
	}
	x := c.x
	have = len(x.part)
	if have <= smallPart {
		buf = r.buffer(have)
		copy(buf, x.part)
		return buf, have
	}
	if have == cap(x.part) {
		c.mu.Lock()
		c.growPartLocked()
		c.mu.Unlock()
	}
	return x.part[:cap(x.part)], have
}

// growPartLocked makes room for more of a message. If the budget is exhausted it makes a little
// room, which keep takes away unless that completes the message.
func (c *epollConn) growPartLocked() {
	if x := c.x; !c.resizePartLocked(cap(x.part) + 1) {
		buf := make([]byte, 0, cap(x.part)+smallPart)
		c.loop.budget().Force(cap(buf) - cap(x.part))
		c.swapPartLocked(buf)
		x.over = true
	}
}

// keep stores what the codec has left over in a buffer of its size.
func (c *epollConn) keep(r *runner, rest []byte) bool {
	begun := len(rest) > 0 || r.m.Partial
	if !begun && !c.begun && r.m.Kept == 0 {
		return true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.clockLocked(r, begun)
	if !c.keptLocked(r.m.Kept) || !c.keepRestLocked(rest) {
		c.todo |= doEnd
		c.leaveLocked(c.loop.budget().Refuse())
		return false
	}
	return true
}

// keepRestLocked stores rest and reports whether there was memory for it.
func (c *epollConn) keepRestLocked(rest []byte) bool {
	if len(rest) == 0 {
		c.dropRestLocked()
		return true
	}
	x := c.needLocked()
	c.part = true
	switch {
	case cap(x.part) < len(rest):
		x.part = x.part[:0]
		if !c.resizePartLocked(len(rest)) {
			return false
		}
		x.part = append(x.part, rest...)
		return true
	case x.over, cap(x.part) > smallPart && cap(x.part)/4 >= len(rest): // its long message is complete
		x.part = x.part[:copy(x.part[:len(rest)], rest)]
		return c.resizePartLocked(len(rest))
	}
	x.part = x.part[:copy(x.part[:len(rest)], rest)] // they may overlap
	return true
}

// clockLocked measures how long a message takes. Once a message was delivered, what is left is a
// new one.
func (c *epollConn) clockLocked(r *runner, begun bool) {
	goesOn := c.begun && !r.told
	c.begun = begun
	switch x := c.needLocked(); {
	case !begun:
		x.since = 0
	case !goesOn:
		r.tick()
		x.since = max(r.now, 1)
		if t := c.loop.MessageTimeout; t > 0 && c.life != lifeHandshaking {
			c.loop.poller.hasten(c, x.since+uint64(t/time.Millisecond))
		}
	}
}

// resizePartLocked gives part a buffer for n bytes and copies its content as far as that fits. It
// returns false and changes nothing if the budget is exhausted.
func (c *epollConn) resizePartLocked(n int) bool {
	size := parts.Size(n)
	if !c.loop.budget().Take(size - cap(c.x.part)) {
		return false
	}
	c.swapPartLocked(parts.Get(n))
	return true
}

func (c *epollConn) swapPartLocked(buf []byte) {
	x := c.x
	buf = buf[:min(len(x.part), cap(buf))]
	copy(buf, x.part)
	parts.Put(x.part)
	x.part, x.over = buf, false
}

// keptLocked records that the codec keeps n bytes. It returns false if the budget is exhausted.
func (c *epollConn) keptLocked(n int) bool {
	x := c.needLocked()
	if n == x.kept {
		return true
	}
	if !c.loop.budget().Take(n - x.kept) {
		return false
	}
	x.kept = n
	return true
}

// dropPartLocked drops an incomplete message. The codec must keep none of it either.
func (c *epollConn) dropPartLocked() {
	c.dropRestLocked()
	if c.x != nil {
		c.loop.budget().Take(-c.x.kept)
		c.x.kept = 0
	}
}

// dropRestLocked frees what the codec had left over.
func (c *epollConn) dropRestLocked() {
	c.part = false
	if c.x == nil || c.x.part == nil {
		return
	}
	c.loop.budget().Take(-cap(c.x.part))
	parts.Put(c.x.part)
	c.x.part, c.x.over = nil, false
}
