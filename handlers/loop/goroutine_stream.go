package loop

import (
	"errors"
	"time"

	"github.com/portluck/portluck/handlers"
)

// patience is how long a callback may run before the loop sends what it has written without waiting
// for it to return.
const patience = time.Millisecond

var _ Conn = (*goConn)(nil)

// Write is [handlers.Stream.Write].
func (c *goConn) Write(p []byte, k handlers.Kind) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.roomLocked(true); err != nil {
		return 0, err
	}
	c.out = c.codec.AppendWrite(c.out, p, k)
	c.kickLocked()
	return len(p), nil
}

// Send is [handlers.Stream.Send].
func (c *goConn) Send(p []byte, k handlers.Kind) error { return c.send(p, k, true) }

// TrySend is [handlers.Stream.TrySend].
func (c *goConn) TrySend(p []byte, k handlers.Kind) error { return c.send(p, k, false) }

func (c *goConn) send(p []byte, k handlers.Kind, wait bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.roomLocked(wait); err != nil {
		return err
	}
	c.out = c.codec.AppendMessage(c.out, p, k)
	c.kickLocked()
	return nil
}

// Queued is [Conn.Queued]. Bytes that are being written count as written.
func (c *goConn) Queued() (n int, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.out), !c.broken
}

// Drain is [Conn.Drain].
func (c *goConn) Drain(f Drainer) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.broken || len(c.out) == 0 && !c.flushing {
		return false
	}
	c.feeds = append(c.feeds, f)
	return true
}

// Framing is [Conn.Framing].
func (c *goConn) Framing() handlers.Framing {
	c.mu.Lock()
	defer c.mu.Unlock()
	return framingOf(c.codec)
}

func framingOf(codec handlers.Codec) handlers.Framing {
	if f, ok := codec.(handlers.Framer); ok {
		return f.Framing(codec)
	}
	return nil
}

// Feed is [Conn.Feed].
func (c *goConn) Feed(p []byte, f FrameSource) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.ended || c.broken:
		return 0, handlers.ErrClosed
	case len(c.out) > 0 || c.flushing:
		c.feeds = append(c.feeds, f)
		return 0, nil
	}
	n := f.End(min(len(p), flushAt)) // f keeps the rest, for all its connections at once
	if c.out = append(c.out, p[:n]...); n < len(p) {
		c.feeds = append(c.feeds, f)
	}
	c.kickLocked()
	return n, nil
}

// End is [handlers.Stream.End]. What the peer still sends is delivered. If the farewell needs an
// answer and none comes, the connection is closed after quitTime.
func (c *goConn) End() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended || c.broken {
		return handlers.ErrClosed
	}
	before := len(c.out)
	c.endLocked(nil)
	if len(c.out) > before {
		c.closeBy = time.Now().Add(c.loop.quitTime())
		c.wakeLocked(c.closeBy)
	}
	c.kickLocked()
	return nil
}

// Quit is [Conn.Quit].
func (c *goConn) Quit(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.broken || c.quit != nil || c.ends.given {
		return // the end already in progress has a bound
	}
	if !c.ended {
		c.endLocked(err)
	}
	if c.cause == nil {
		c.cause = err
	}
	c.ends.give(err)
	// Even while a write waits for the peer.
	c.quit = time.AfterFunc(c.loop.quitTime(), func() { c.abort(err) })
	c.closeBy = time.Now().Add(c.loop.quitTime())
	c.wakeLocked(c.closeBy)
	c.kickLocked()
}

func (c *goConn) stopTimers() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, t := range []*time.Timer{c.quit, c.alarm} {
		if t != nil {
			t.Stop()
		}
	}
}

// Destroy is [handlers.Stream.Destroy]. It still sends as much of the queue as the kernel accepts
// at once.
func (c *goConn) Destroy() {
	c.mu.Lock()
	if rw := c.rw; rw != nil && len(c.out) > 0 && !c.flushing && !c.broken {
		buf := c.out
		c.out = nil
		_ = rw.SetWriteDeadline(time.Now().Add(quiet))
		c.mu.Unlock()
		_, _ = rw.Write(buf)
		c.mu.Lock()
	}
	c.mu.Unlock()
	c.abort(nil)
}

// abort closes the connection at once. The driving goroutine then ends.
func (c *goConn) abort(cause error) {
	c.dead.Store(true)
	c.mu.Lock()
	c.ends.give(cause)
	rw := c.rw
	c.breakLocked(cause)
	c.mu.Unlock()
	if rw != nil {
		rw.Close()
	}
}

// halt asks the connection to end. What the peer has already sent is still served.
func (c *goConn) halt() {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	c.haltBy = now.Add(lingerTime)
	c.cond.Broadcast()
	c.wakeLocked(now.Add(quiet))
}

// wakeLocked makes the driving goroutine's Read return by t.
func (c *goConn) wakeLocked(t time.Time) {
	if c.rw != nil && !c.broken {
		_ = c.rw.SetReadDeadline(t)
	}
}

// farewell appends the codec's farewell for reason to dst. Of a panic, the codec sees only
// [handlers.ErrPanic]. If the codec panics, farewell logs that and returns dst. The caller holds
// the connection's lock, and the connection has not left the loop.
func (l *Loop) farewell(ev Events, codec handlers.Codec, dst []byte, reason error) []byte {
	if errors.Is(reason, handlers.ErrPanic) {
		reason = handlers.ErrPanic
	}
	said := dst
	if err := handlers.Guard(func() { said = codec.AppendClose(dst, reason) }); err != nil {
		l.tasks.Go(func() { l.panicked(ev, err) }) // ends when it is logged
	}
	return said
}
