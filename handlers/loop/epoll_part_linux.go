package loop

import (
	"errors"
	"math/bits"
	"sync"
	"time"

	"github.com/portluck/portluck/handlers"
)

// smallPart is up to where a message that is not whole is put in front of what is read next; a longer one is read into its
// own buffer.
const smallPart = 16 << 10

// space is where to read to, behind what there is of a message.
func (c *polled) space(r *runner) (buf []byte, have int, err error) {
	if !c.part {
		return r.buffer(), 0, nil
	}
	x := c.x
	have = len(x.part)
	if have <= smallPart {
		copy(r.buffer(), x.part)
		return r.in, have, nil
	}
	if cap(x.part)-have < have/4 {
		if err := c.resizePart(2 * cap(x.part)); err != nil {
			return nil, 0, err
		}
	}
	return x.part[:cap(x.part)], have, nil
}

// keep keeps what the codec has left over, in a buffer of its size.
func (c *polled) keep(r *runner, rest []byte) bool {
	begun := len(rest) > 0 || r.m.Partial
	if !begun && !c.begun {
		return true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.clockLocked(r, begun)
	if err := c.keptLocked(r.m.Kept); err != nil {
		c.todo |= doEnd
		c.leaveLocked(err)
		return false
	}
	if len(rest) == 0 {
		c.dropRestLocked()
		return true
	}
	x := c.needLocked()
	if cap(x.part) > smallPart && cap(x.part)/4 >= len(rest) { // the long message that it was for has been delivered
		x.part = x.part[:copy(x.part[:len(rest)], rest)]
		rest = x.part
		_ = c.resizePartLocked(len(rest))
	}
	if cap(x.part) < len(rest) {
		if err := c.resizePartLocked(len(rest)); err != nil {
			c.todo |= doEnd
			c.leaveLocked(err)
			return false
		}
	}
	x.part = x.part[:len(rest)]
	copy(x.part, rest) // they may be the same
	c.part = true
	return true
}

// clockLocked measures how long a message takes. What was delivered last is whole: what is there now is another.
func (c *polled) clockLocked(r *runner, begun bool) {
	goesOn := c.begun && !r.told
	c.begun = begun
	switch x := c.needLocked(); {
	case !begun:
		x.since = 0
	case !goesOn:
		r.tick()
		x.since = max(r.now, 1)
		if t := c.shard.loop.MessageTimeout; t > 0 && !c.shake {
			c.shard.hasten(c, x.since+uint64(t/time.Millisecond))
		}
	}
}

func (c *polled) resizePart(size int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.resizePartLocked(size)
}

// errPartials means that the memory for messages that are not whole is used up.
var errPartials = errors.New("too many unfinished messages")

// resizePartLocked gives part another buffer, with what is in it.
func (c *polled) resizePartLocked(size int) error {
	ss := &c.shard.loop.shards
	buf := partBuffer(size)
	if ss.part.Add(int64(cap(buf)-cap(c.x.part))) > c.shard.loop.maxPartial() {
		ss.part.Add(int64(cap(c.x.part) - cap(buf)))
		putPart(buf)
		return errors.Join(handlers.ErrPolicy, errPartials)
	}
	buf = append(buf, c.x.part...)
	putPart(c.x.part)
	c.x.part = buf
	return nil
}

// keptLocked notes that the codec keeps n bytes.
func (c *polled) keptLocked(n int) error {
	x, ss := c.needLocked(), &c.shard.loop.shards
	more := int64(n - x.kept)
	if more == 0 {
		return nil
	}
	if ss.part.Add(more) > c.shard.loop.maxPartial() && more > 0 {
		ss.part.Add(-more)
		return errors.Join(handlers.ErrPolicy, errPartials)
	}
	x.kept = n
	return nil
}

// dropPartLocked is the end of a message that is not whole. The codec keeps nothing either.
func (c *polled) dropPartLocked() {
	c.dropRestLocked()
	if c.x != nil {
		c.shard.loop.shards.part.Add(-int64(c.x.kept))
		c.x.kept = 0
	}
}

// dropRestLocked gives back what the codec had left over.
func (c *polled) dropRestLocked() {
	c.part = false
	if c.x == nil || c.x.part == nil {
		return
	}
	c.shard.loop.shards.part.Add(-int64(cap(c.x.part)))
	putPart(c.x.part)
	c.x.part = nil
}

// partPools have the buffers of 256 bytes to 256 KiB; longer ones are not kept.
var partPools [11]sync.Pool

const leastPart = 8 // bits

func partBuffer(size int) []byte {
	class := max(bits.Len(uint(size-1)), leastPart)
	if class-leastPart >= len(partPools) {
		return make([]byte, 0, 1<<class)
	}
	if p, ok := partPools[class-leastPart].Get().(*[]byte); ok {
		return *p
	}
	return make([]byte, 0, 1<<class)
}

func putPart(b []byte) {
	class := bits.Len(uint(cap(b))) - 1
	if cap(b) == 0 || class-leastPart >= len(partPools) {
		return
	}
	b = b[:0]
	partPools[class-leastPart].Put(&b)
}
