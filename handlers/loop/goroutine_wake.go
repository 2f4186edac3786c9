package loop

import (
	"bytes"
	"net"
	"syscall"
	"time"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/internal/grace"
)

// Flush is [Conn.Flush]. It does not block: another goroutine writes.
func (c *goConn) Flush() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.out) > 0 {
		c.startFlushLocked()
	}
}

// Pause is [Conn.Pause].
func (c *goConn) Pause() { c.pause(true) }

// Resume is [Conn.Resume].
func (c *goConn) Resume() { c.pause(false) }

func (c *goConn) pause(on bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.paused == on {
		return
	}
	c.paused = on
	c.lookUpLocked() // a Read that is waiting must not deliver more
}

// Wake is [Conn.Wake].
func (c *goConn) Wake(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.broken:
	case d <= 0:
		c.called = true
		c.lookUpLocked()
	case c.alarm == nil:
		c.alarm = time.AfterFunc(d, func() { c.Wake(0) })
	default:
		c.alarm.Reset(d)
	}
}

// lookUpLocked makes the driving goroutine leave its Read or wait, and call rest.
func (c *goConn) lookUpLocked() {
	c.cond.Broadcast()
	c.idle.bent = true
	c.wakeLocked(time.Now())
}

// unlocked calls f without holding c.mu. It locks c.mu again even if f ends the goroutine.
func (c *goConn) unlocked(f func()) {
	c.mu.Unlock()
	defer c.mu.Lock()
	f()
}

// rest wakes the events if requested, and waits while nothing is to be read. done reports whether
// the connection must end, for err.
func (c *goConn) rest(in *input) (done bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		switch {
		case c.dead.Load():
			return true, nil
		case c.called:
			c.called = false
			if c.unlocked(func() { done, err = c.wakes(in) }); done {
				return true, err
			}
		case !c.paused && !c.half:
			return false, nil
		case c.broken && c.cause != nil && !c.flushing: // nothing more can come or go
			return true, c.cause
		case !c.haltBy.IsZero():
			return true, handlers.ErrShutdown
		case c.half && c.shut && !c.flushing:
			return true, nil
		case c.half && c.broken && !c.flushing:
			return true, errLost
		case c.late():
			return true, c.overdueLocked()
		default:
			c.waitLocked()
		}
	}
}

// late reports whether a connection that is not being read has been idle for too long.
func (c *goConn) late() bool {
	return c.loop.Timeout > 0 && time.Since(c.idle.last()) >= c.loop.Timeout
}

// waitLocked waits for a change, or until the connection may be late.
func (c *goConn) waitLocked() {
	if c.loop.Timeout > 0 {
		t := time.AfterFunc(c.loop.Timeout-time.Since(c.idle.last()), func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.cond.Broadcast()
		})
		defer t.Stop()
	}
	c.cond.Wait()
}

// stay keeps the connection open, after the peer has closed its side, so that the program can
// write.
func (c *goConn) stay() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.half = true
	c.idle.begun = time.Time{}
}

// wakes calls Woken. done reports whether the connection must end, or leaves the loop.
func (c *goConn) wakes(in *input) (done bool, err error) {
	w, ok := c.ev.(Waker)
	if !ok {
		return false, nil
	}
	m := handlers.Messages{Events: (*events)(c)}
	c.messages = &m
	c.beginTurn()
	again := w.Woken(time.Since(c.idle.last()), &m)
	c.upgrade(&m)
	c.endTurn(&m)
	if again > 0 {
		c.Wake(again)
	}
	switch c.taker = m.Hijack; {
	case c.taker != nil:
		c.unread = append(bytes.Clone(in.Bytes()), c.unread...)
		return true, nil
	case m.Next != nil:
		return c.decode(in, false)
	}
	return false, nil
}

// SetNoDelay is [Conn.SetNoDelay].
func (c *goConn) SetNoDelay(on bool) error {
	return c.option(func(o tcpOptions) error { return o.SetNoDelay(on) })
}

// SetKeepAlive is [Conn.SetKeepAlive].
func (c *goConn) SetKeepAlive(on bool, idle time.Duration) error {
	if idle == 0 {
		idle = -1
	}
	config := net.KeepAliveConfig{Enable: on, Idle: idle, Interval: -1, Count: -1}
	return c.option(func(o tcpOptions) error { return o.SetKeepAliveConfig(config) })
}

// tcpOptions are the options of a [net.TCPConn] that the loop sets.
type tcpOptions interface {
	SetNoDelay(on bool) error
	SetKeepAliveConfig(config net.KeepAliveConfig) error
}

// option calls set with the connection's socket. It does nothing if there is none.
func (c *goConn) option(set func(o tcpOptions) error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.broken {
		return net.ErrClosed
	}
	if err := c.transportLocked(); err != nil {
		return err
	}
	for b := any(c.rw); b != nil; b = below(b) {
		switch o := b.(type) {
		case tcpOptions:
			return set(o)
		case syscall.Conn:
			return set(rawOptions{o})
		}
	}
	return nil
}

// unreadLocked reports whether the kernel holds anything from the peer that was not read.
func (c *goConn) unreadLocked() bool {
	for b := any(c.rw); b != nil; b = below(b) {
		if s, ok := b.(syscall.Conn); ok {
			return grace.HasUnread(s)
		}
	}
	return false
}
