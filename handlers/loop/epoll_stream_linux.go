package loop

import (
	"time"

	"github.com/portluck/portluck/handlers"
	"golang.org/x/sys/unix"
)

// Write is [handlers.Stream.Write].
func (c *epollConn) Write(p []byte, k handlers.Kind) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.roomLocked(true); err != nil {
		return 0, err
	}
	x := c.needLocked()
	x.out = c.codec.AppendWrite(x.out, p, k)
	c.kickLocked()
	return len(p), nil
}

// Send is [handlers.Stream.Send].
func (c *epollConn) Send(p []byte, k handlers.Kind) error { return c.send(p, k, true) }

// TrySend is [handlers.Stream.TrySend].
func (c *epollConn) TrySend(p []byte, k handlers.Kind) error { return c.send(p, k, false) }

func (c *epollConn) send(p []byte, k handlers.Kind, wait bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.roomLocked(wait); err != nil {
		return err
	}
	x := c.needLocked()
	x.out = c.codec.AppendMessage(x.out, p, k)
	c.kickLocked()
	return nil
}

// Queued is [Conn.Queued].
func (c *epollConn) Queued() (n int, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.queuedLocked(), c.sending < sendingBroken
}

// Drain is [Conn.Drain].
func (c *epollConn) Drain(f Drainer) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sending == sendingBroken || c.queuedLocked() == 0 {
		return false
	}
	x := c.needLocked()
	x.feeds = append(x.feeds, f)
	return true
}

// Framing is [Conn.Framing].
func (c *epollConn) Framing() handlers.Framing {
	c.mu.Lock()
	defer c.mu.Unlock()
	return framingOf(c.codec)
}

// Feed is [Conn.Feed].
func (c *epollConn) Feed(p []byte, f FrameSource) (n int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.sending > sendingOpen:
		return 0, handlers.ErrClosed
	case c.turning || c.fd < 0: // the turn's or the first write sends it
		queued, most := c.queuedLocked(), c.loop.maxQueue()
		if n = len(p); queued+n > most {
			if n = 0; queued == 0 { // or nothing would call f again for the rest
				n = f.End(min(len(p), most))
			}
		}
		if n > 0 {
			x := c.needLocked()
			x.out = append(x.out, p[:n]...)
		}
		if n < len(p) {
			x := c.needLocked()
			x.feeds = append(x.feeds, f)
		}
		c.kickLocked()
		return n, nil
	case c.queuedLocked() == 0:
		if n, err = c.writeLocked(p); err != nil && err != unix.EAGAIN {
			c.writeFailedLocked(err)
			c.resumeLocked()
			return 0, handlers.ErrClosed
		}
		if n > 0 {
			c.active.Store(uint32(c.now()))
		}
		if n == len(p) && c.tls.queued() == 0 {
			return n, nil
		}
		if end := f.End(n); end > n {
			x := c.needLocked()
			x.out = append(x.out, p[n:end]...)
			n = end
		}
		c.blockedLocked()
	}
	if n < len(p) {
		x := c.needLocked()
		x.feeds = append(x.feeds, f)
	}
	return n, nil
}

// End is [handlers.Stream.End]. Input is still delivered. A peer that does not answer a farewell of
// the protocol is closed after quitTime.
func (c *epollConn) End() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sending > sendingOpen {
		return handlers.ErrClosed
	}
	x := c.needLocked()
	before := len(x.out)
	c.endLocked(nil)
	if len(x.out) > before {
		c.byLocked(c.loop.quitTime())
	}
	c.kickLocked()
	return nil
}

// Quit is [Conn.Quit].
func (c *epollConn) Quit(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.life >= lifeLeaving || c.sending == sendingBroken || c.x != nil && c.x.quit != nil {
		return // it is ending, within a bound
	}
	if c.sending == sendingOpen {
		c.endLocked(err)
	}
	x := c.needLocked()
	x.reason.give(err)
	if x.quit = err; x.closeBy == 0 || x.closeBy > c.now()+uint64(c.loop.quitTime()/time.Millisecond) {
		x.closeBy = 0
		c.byLocked(c.loop.quitTime())
	}
	c.kickLocked()
	c.postLocked(doQuit)
}

// quitted ends the connection after Quit.
func (c *epollConn) quitted() {
	c.mu.Lock()
	err := error(nil)
	if c.x != nil {
		err = c.x.quit
	}
	c.mu.Unlock()
	c.leave(err)
}

// Destroy is [handlers.Stream.Destroy]. It still writes what the kernel accepts at once.
func (c *epollConn) Destroy() {
	c.mu.Lock()
	c.flushLocked()
	c.mu.Unlock()
	c.abort(nil)
}

// abort closes the connection at once.
func (c *epollConn) abort(cause error) {
	c.flags.Or(flagDestroyed)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.life == lifeOver {
		return
	}
	c.needLocked().reason.give(cause)
	c.breakLocked(cause)
	if c.busy && c.fd >= 0 {
		_ = unix.Shutdown(int(c.fd), unix.SHUT_RDWR) // its owner may be slow
	}
	c.postLocked(doEnd)
}

// halt asks the connection to end. Bytes that the peer has already sent are still served.
func (c *epollConn) halt() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.life == lifeOver {
		return
	}
	if x := c.needLocked(); x.haltBy == 0 {
		x.haltBy = c.now() + uint64(lingerTime/time.Millisecond)
	}
	c.postLocked(doHalt | doRead)
}

// events is [ender.events].
func (c *epollConn) events() Events { return c.ev }

// roomLocked returns once the queue has room. It waits for that if wait is set; otherwise it
// returns [handlers.ErrSlow].
func (c *epollConn) roomLocked(wait bool) error {
	for {
		switch {
		case c.sending > sendingOpen:
			return handlers.ErrClosed
		case c.queuedLocked() < c.loop.maxQueue():
			return nil
		}
		if c.flushLocked(); c.sending == sendingBroken || c.queuedLocked() < c.loop.maxQueue() {
			continue
		}
		if !wait {
			return handlers.ErrSlow
		}
		x := c.needLocked()
		x.room.L = &c.mu
		if due := c.slowByLocked(); due != 0 {
			c.loop.poller.hasten(c, due) // the first turn may not have scheduled it
		}
		x.waiting++
		x.room.Wait()
		x.waiting--
	}
}

// kickLocked writes the queue, or leaves that to the end of a running turn.
func (c *epollConn) kickLocked() {
	if !c.turning || c.queuedLocked() >= flushAt {
		c.flushLocked()
		c.tidyLocked()
	}
}
