package loop

import (
	"cmp"
	"errors"
	"os"
	"syscall"
	"time"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/internal/linger"
)

func (c *goConn) breakLocked(cause error) {
	if c.cause == nil {
		c.cause = cause
	}
	c.ends.fail(cause)
	c.broken = true
	c.out, c.spare = nil, nil
	c.cond.Broadcast()
	c.drainedLocked()
}

// drainedLocked calls Drained for each Drainer that waits.
func (c *goConn) drainedLocked() {
	for _, f := range c.feeds {
		c.loop.tasks.Go(f.Drained) // ends when f has fed what it has
	}
	c.feeds = nil
}

func (c *goConn) endLocked(reason error) {
	c.ended = true
	c.out = c.loop.farewell(c.ev, c.codec, c.out, reason)
	c.cond.Broadcast()
}

// roomLocked waits for room in the queue. If wait is false and the queue is full, it returns
// [handlers.ErrSlow].
func (c *goConn) roomLocked(wait bool) error {
	for {
		switch {
		case c.ended || c.broken:
			return handlers.ErrClosed
		case len(c.out) < c.loop.maxQueue():
			return nil
		case !wait:
			return handlers.ErrSlow
		}
		c.startFlushLocked()
		c.cond.Wait()
	}
}

// kickLocked arranges for out to be written: at the end of the turn, if one is running and ends
// within [patience], or else by another goroutine.
func (c *goConn) kickLocked() {
	switch {
	case c.flushing:
	case !c.turn || len(c.out) >= flushAt:
		c.startFlushLocked()
	case c.corked:
	case c.cork == nil:
		c.corked = true
		c.cork = time.AfterFunc(patience, c.uncork)
	default:
		c.corked = true
		c.cork.Reset(patience)
	}
}

// uncork sends what a long-running callback has written so far.
func (c *goConn) uncork() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.corked = false
	if c.turn && len(c.out) > 0 {
		c.startFlushLocked()
	}
}

func (c *goConn) startFlushLocked() {
	if c.flushing {
		return
	}
	c.flushing = true
	c.loop.tasks.Go(func() { // ends when out is empty or cannot be written
		c.mu.Lock()
		defer c.mu.Unlock()
		c.flushLocked()
	})
}

// flushLocked writes until out is empty, and then FIN if the connection has ended. It releases c.mu
// while it writes.
func (c *goConn) flushLocked() {
	c.flushing = true
	for len(c.out) > 0 && !c.broken && c.transportLocked() == nil {
		buf := c.out
		c.out, c.spare, c.asked = c.spare[:0], nil, 0
		err := c.releaseLocked(func() error { return c.write(buf) })
		if err != nil {
			c.writeFailedLocked(err)
		}
		if !c.broken && cap(buf) <= flushAt {
			c.spare = buf
		}
		c.cond.Broadcast()
	}
	if c.ended && !c.shut && !c.broken && c.transportLocked() == nil {
		c.shut = true
		err := c.releaseLocked(func() error { return c.rw.CloseWrite() }) // may wait for the peer on TLS
		if err != nil {
			c.writeFailedLocked(err)
		}
	}
	c.flushing = false
	c.cond.Broadcast()
	c.drainedLocked()
}

// releaseLocked calls f, which writes, without holding c.mu. A connection that the program made may
// end the goroutine in f: releaseLocked then marks the connection broken and locks c.mu again for
// the deferred unlocks.
func (c *goConn) releaseLocked(f func() error) (err error) {
	c.mu.Unlock()
	panicked := handlers.GuardExit(func() { err = f() }, func(err error) {
		c.mu.Lock()
		c.flushing = false
		c.breakLocked(err)
		c.cond.Broadcast()
		c.drainedLocked()
	})
	c.mu.Lock()
	return cmp.Or(panicked, err)
}

// write writes buf in chunks and notes the time of each: a peer that drains a long queue slowly is
// not idle.
func (c *goConn) write(buf []byte) (err error) {
	for len(buf) > 0 && err == nil {
		n := min(len(buf), writeChunk)
		c.idle.beforeWrite(c)
		_, err = c.rw.Write(buf[:n])
		c.idle.wrote()
		buf = buf[n:]
	}
	return err
}

// writeChunk is the largest number of bytes in one write.
const writeChunk = 64 << 10

// writeFailedLocked marks the connection broken after a write failed with err. If the peer read too
// slowly, it also closes the connection; otherwise reading continues. err becomes the reason of the
// end, unless the peer merely stopped reading or had ended in order before.
func (c *goConn) writeFailedLocked(err error) {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		c.breakLocked(handlers.ErrSlow)
		c.dead.Store(true)
		c.rw.Close()
	case (deaf(err) || c.eof && !c.cut) && !c.half:
		c.breakLocked(nil)
	default:
		c.breakLocked(err)
	}
}

func (c *goConn) beginTurn() {
	c.mu.Lock()
	c.turn = true
	c.mu.Unlock()
}

// endTurn writes what the turn produced. It waits while too much is queued: a peer that does not
// read is not read from.
func (c *goConn) endTurn(m *handlers.Messages) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.turn = false
	if m != nil {
		c.replyLocked(m)
	}
	if c.corked {
		c.corked = false
		c.cork.Stop()
	}
	if !c.flushing && (len(c.out) > 0 || c.ended && !c.shut) {
		c.flushLocked()
	}
	for c.flushing && (len(c.out) >= c.loop.maxQueue() || c.asked >= c.loop.maxReplies()) && !c.broken {
		c.cond.Wait() // otherwise a peer that does not read could fill the queue
	}
}

// goodbye writes the codec's farewell for reason, sends FIN after all that is queued, and waits a
// moment for the peer to read it.
func (c *goConn) goodbye(reason error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ends.fail(reason)
	if c.transportLocked() != nil {
		return
	}
	if !c.ended && !c.broken {
		c.endLocked(reason)
	}
	_ = c.rw.SetWriteDeadline(time.Now().Add(c.loop.closeTimeout()))
	c.idle.armedLate.Store(time.Now().UnixNano())
	for c.flushing {
		c.cond.Wait()
	}
	if c.broken {
		return
	}
	// Close sends FIN too.
	if _, bare := c.rw.(syscall.Conn); c.shut || bare && c.eof && len(c.out) == 0 {
		c.shut = true
		return
	}
	c.flushLocked()
	if c.broken || c.eof || reason == handlers.ErrTimeout {
		return
	}
	c.mu.Unlock()
	_, _ = linger.Drop(c.rw, c.loop.lingerTime(), lingerMax)
	c.mu.Lock()
}

// queueReply queues the codec's own answers, ahead of what the program writes next.
func (c *goConn) queueReply(m *handlers.Messages) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.replyLocked(m)
}

// lastWord queues the codec's last answer and the farewell. Nothing can be queued after them.
func (c *goConn) lastWord(m *handlers.Messages) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.replyLocked(m)
	if !c.ended && !c.broken {
		c.endLocked(nil)
	}
}

func (c *goConn) replyLocked(m *handlers.Messages) {
	if !c.broken && !c.shut {
		c.out = append(c.out, m.Reply...)
		c.asked += len(m.Reply)
	}
	m.Reply = m.Reply[:0]
}
