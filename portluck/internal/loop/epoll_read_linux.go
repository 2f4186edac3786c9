package loop

import (
	"errors"
	"fmt"
	"io"
	"math/bits"
	"sync"
	"time"

	"github.com/portluck/portluck/handlers"
	"golang.org/x/sys/unix"
)

// readBudget is how much of one connection is read in a turn while others wait.
const readBudget = 64 << 10

// smallPart is up to where a message that is not whole is put in front of what is read next; a longer one is read into its
// own buffer.
const smallPart = 16 << 10

// read reads and decodes what there is.
func (c *polled) read(r *runner) {
	if c.lingers {
		c.linger(r)
		return
	}
	defer c.link.save()
	for r.budget = readBudget; !c.leaving; {
		if c.hold() {
			return
		}
		buf, have, err := c.space(r)
		if err != nil {
			c.leave(err)
			return
		}
		n, drained, err := c.receive(r, buf[have:])
		switch {
		case err == unix.EAGAIN:
			return
		case err == errBudget:
			c.yield()
			return
		case errors.Is(err, io.EOF):
			c.eof = true
			if c.decode(r, buf[:have], true) {
				return
			}
			c.leave(nil)
			return
		case err != nil:
			c.leave(fmt.Errorf("read: %w", err))
			return
		}
		r.tick()
		c.active.Store(uint32(r.now))
		if c.decode(r, buf[:have+n], false) || drained && !c.hung {
			return
		}
		r.budget -= n
	}
}

// errBudget means that it is the turn of others.
var errBudget = errors.New("read enough for now")

// receive reads once. drained means that there is no more for now: epoll will tell.
func (c *polled) receive(r *runner, p []byte) (n int, drained bool, err error) {
	if c.link != nil {
		return c.link.read(c, r, p)
	}
	if r.budget <= 0 {
		return 0, false, errBudget
	}
	n, err = readFD(int(c.fd), p)
	if n == 0 && err == nil {
		return 0, true, io.EOF
	}
	return n, n < len(p), err
}

func readFD(fd int, p []byte) (int, error) {
	for {
		n, err := unix.Read(fd, p)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return 0, err
		default:
			return n, nil
		}
	}
}

// hold says that the connection is not read now: its peer does not read, and what it asks for would be queued without
// bound.
func (c *polled) hold() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.broken || c.queuedLocked() < c.shard.loop.maxQueue() {
		return c.dead.Load()
	}
	c.needLocked().held = true
	return true
}

// yield lets others have their turn: epoll tells again what there is to be read.
func (c *polled) yield() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.watched {
		c.watchLocked()
	} else {
		c.todo |= doRead
	}
}

// linger swallows what comes.
func (c *polled) linger(r *runner) {
	for {
		n, err := readFD(int(c.fd), r.buffer())
		switch {
		case err == unix.EAGAIN:
			return
		case err != nil || n == 0:
			c.eof = true
		}
		c.mu.Lock()
		c.x.swallow += n
		enough := c.x.swallow > lingerMax
		c.mu.Unlock()
		if c.eof || enough {
			c.eof = true
			c.settle()
			return
		}
	}
}

// decode hands data to the codec, until that wants more, and keeps what it has left over. It reports whether the
// connection leaves.
func (c *polled) decode(r *runner, data []byte, eof bool) bool {
	r.failed, r.told = nil, false
	for {
		r.m.EOF, r.m.Partial = eof, false
		c.cork(r)
		n, err := c.codec.Decode(data, &r.m)
		c.upgrade(r)
		next, take := r.m.Next != nil, r.m.Leave
		r.m.Next, r.m.Leave = nil, nil
		c.endTurn(&r.m)
		data = data[n:]
		if r.failed != nil {
			err = r.failed
		}
		switch {
		case err == nil && take != nil:
			c.depart(data, take)
			return true
		case errors.Is(err, io.EOF):
			c.leave(nil)
			return true
		case err != nil:
			c.leave(err)
			return true
		case !next && eof:
			c.leave(nil)
			return true
		case !next:
			return !c.keep(r, data)
		}
	}
}

// upgrade makes the codec that Decode named the connection's.
func (c *polled) upgrade(r *runner) {
	if r.m.Next == nil {
		return
	}
	c.mu.Lock()
	c.codec = r.m.Next
	c.mu.Unlock()
}

// Connect announces the client, whose codec is the one that the handshake chose.
func (r *runner) Connect(info *handlers.Info) {
	c := r.conn
	c.upgrade(r)
	c.mu.Lock()
	c.replyLocked(&r.m)
	if c.x != nil {
		c.x.shakeBy = 0
	}
	c.mu.Unlock()
	c.shake = false
	r.tick()
	c.active.Store(uint32(r.now))
	r.told = true
	r.failed = c.ev.Connect(info)
}

// Message raises the event, unless the connection was destroyed by an earlier one.
func (r *runner) Message(m handlers.Message) {
	c := r.conn
	if r.failed != nil || c.dead.Load() {
		return
	}
	if len(r.m.Reply) > 0 {
		c.mu.Lock()
		c.replyLocked(&r.m)
		c.mu.Unlock()
	}
	r.told = true
	r.failed = c.ev.Message(m)
}

// carry decodes what was read by somebody else.
func (c *polled) carry(r *runner, p []byte) {
	c.decode(r, p, false)
}

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
	if len(rest) == 0 {
		c.dropPartLocked()
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

func (c *polled) dropPartLocked() {
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

// sinceActive is how long no byte has come or gone.
func (c *polled) sinceActive(now uint64) uint64 { return uint64(uint32(now) - c.active.Load()) }

// timer ends a connection whose deadline has passed, or looks again when it will have.
func (c *polled) timer() {
	c.mu.Lock()
	if c.over || c.lent {
		c.mu.Unlock()
		return
	}
	now := c.now()
	due, err := c.dueLocked(now)
	if due == 0 || due > now {
		if due != 0 {
			c.shard.schedule(c, due) // under mu: a later call must not put off the deadline that End sets
		}
		c.mu.Unlock()
		return
	}
	if c.x != nil && c.x.closeBy != 0 && c.queuedLocked() > 0 && !c.leaving { // it has not even read the farewell
		c.leaving, c.x.why = true, handlers.ErrSlow
	}
	if c.leaving {
		c.finishLocked()
		return
	}
	c.mu.Unlock()
	c.leave(err)
}

// dueLocked is when the connection is to end and why; 0 for never.
func (c *polled) dueLocked(now uint64) (due uint64, err error) {
	l := c.shard.loop
	switch {
	case c.x != nil && c.x.closeBy != 0:
		return c.x.closeBy, nil
	case c.leaving:
		return 0, nil
	case c.shake:
		return c.shakeByLocked(now), handlers.ErrTimeout
	case l.Timeout > 0:
		due, err = now-c.sinceActive(now)+uint64(l.Timeout/time.Millisecond), handlers.ErrTimeout
		if c.queuedLocked() > 0 {
			err = handlers.ErrSlow
		}
	}
	if x := c.x; l.MessageTimeout > 0 && x != nil && x.since != 0 && !x.held {
		if by := x.since + uint64(l.MessageTimeout/time.Millisecond); due == 0 || by < due {
			return by, handlers.ErrTimeout
		}
	}
	return due, err
}

// shakeByLocked is when the handshake must be complete.
func (c *polled) shakeByLocked(now uint64) uint64 {
	l := c.shard.loop
	if l.HandshakeTimeout <= 0 {
		return 0
	}
	if x := c.needLocked(); x.shakeBy == 0 {
		x.shakeBy = now + uint64(l.HandshakeTimeout/time.Millisecond)
	}
	return c.x.shakeBy
}
