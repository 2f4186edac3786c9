package loop

import (
	"cmp"
	"errors"
	"os"
	"syscall"
	"time"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/internal/parts"
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

// drainedLocked tells those that feed the connection to go on.
func (c *goConn) drainedLocked() {
	for _, f := range c.feeds {
		c.loop.tasks.Go(f.Drained) // ends when it has fed what there is
	}
	c.feeds = nil
}

func (c *goConn) endLocked(reason error) {
	c.ended = true
	c.out = c.loop.farewell(c.ev, c.codec, c.out, reason)
	c.cond.Broadcast()
}

// roomLocked waits for room in the queue, or says that there is none.
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

// kickLocked sees to it that out gets written: by the turn's end if that comes soon.
func (c *goConn) kickLocked() {
	switch {
	case c.flushing:
	case c.parked:
		c.unparkLocked()
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

// uncork sends what a callback that takes its time has written.
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

// flushLocked writes until out is empty, and FIN after a farewell. c.mu is released while it
// writes.
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

// releaseLocked calls f, which writes, without c.mu. If f ends its goroutine, as a connection of
// the program's making may, the connection is broken, and c.mu is locked for whoever has deferred
// to unlock it.
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

// write writes buf, and notes each chunk of it that the peer has taken: one that drains a long
// queue slowly is not idle.
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

// writeChunk is how many bytes are written at once.
const writeChunk = 64 << 10

// writeFailedLocked stops writing. What the peer has sent is still read, unless it is too slow a
// reader; unless it only reads no more, or has ended before, its end is no good one.
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

// endTurn writes what the turn produced.
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
		c.cond.Wait() // a peer that does not read is not read: what it asks for would be queued without bound
	}
}

// goodbye tells the peer why it ends, sends FIN after all that was written, and waits a moment for
// the peer to read it.
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
	if _, bare := c.rw.(syscall.Conn); c.shut || bare && c.eof && len(c.out) == 0 { // closing is as good a FIN
		c.shut = true
		return
	}
	c.flushLocked()
	if c.broken || c.eof || reason == handlers.ErrTimeout {
		return
	}
	c.mu.Unlock()
	c.linger()
	c.mu.Lock()
}

// linger swallows what the peer still sends: closing with unread bytes would reset the connection,
// and the peer would lose our last words (RFC 9112, section 9.6).
func (c *goConn) linger() {
	_ = c.rw.SetReadDeadline(time.Now().Add(c.loop.lingerTime()))
	buf := parts.Get(4 << 10)
	defer parts.Put(buf)
	buf = buf[:cap(buf)]
	for total := 0; total < lingerMax; {
		n, err := c.rw.Read(buf)
		if err != nil {
			return
		}
		total += n
	}
}

// queueReply puts the protocol's own answers in their place: ahead of what the program writes next.
func (c *goConn) queueReply(m *handlers.Messages) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.replyLocked(m)
}

// lastWord queues what the codec has answered at the end: nothing that others send may follow it.
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
