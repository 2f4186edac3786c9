package loop

import (
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Flush is [Conn.Flush].
func (c *polled) Flush() { c.flush() }

// Pause is [Conn.Pause].
func (c *polled) Pause() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.paused = true
}

// Resume is [Conn.Resume]. What epoll has told meanwhile it does not tell again.
func (c *polled) Resume() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.paused {
		c.paused = false
		c.postLocked(doResume | doRead)
	}
}

func (c *polled) isPaused() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.paused
}

// resumed decodes what was kept while nothing was to be delivered. It is false when the connection leaves.
func (c *polled) resumed(r *runner) bool {
	return !c.part || c.leaving || c.isPaused() || !c.decode(r, c.x.part, false)
}

// stay keeps a connection whose peer has sent its last. It is false when the program has ended it too.
func (c *polled) stay() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended || c.broken || c.dead.Load() {
		return false
	}
	c.half, c.begun = true, false
	c.dropPartLocked()
	if c.x != nil {
		c.x.since = 0
	}
	c.tidyLocked()
	return true
}

// listen finds out whether a peer that has sent its last has also gone.
func (c *polled) listen(r *runner) {
	if _, err := readFD(int(c.fd), r.buffer()); err != nil && err != unix.EAGAIN {
		c.leave(fmt.Errorf("read: %w", err))
	}
}

// Wake is [Conn.Wake].
func (c *polled) Wake(d time.Duration) {
	if d <= 0 {
		c.post(doWake)
		return
	}
	c.shard.hasten(c, c.now()+uint64((d+time.Millisecond-1)/time.Millisecond))
}

// wakes wakes the events, and reports whether that took the connection out of the loop.
func (c *polled) wakes(r *runner) bool {
	w, ok := c.ev.(Waker)
	if !ok || c.dead.Load() || c.leaving {
		return false
	}
	c.cork(r)
	again := w.Woken(time.Duration(c.sinceActive(c.now()))*time.Millisecond, &r.m)
	take := r.m.Leave
	r.m.Leave = nil
	c.endTurn(&r.m)
	if again > 0 {
		c.Wake(again)
	}
	if take == nil {
		return false
	}
	var unread []byte
	if c.part {
		unread = c.x.part
	}
	return c.depart(unread, take)
}

// SetNoDelay is [Conn.SetNoDelay].
func (c *polled) SetNoDelay(on bool) error {
	return c.option(func(fd int) error { return unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, number(on)) })
}

// SetKeepAlive is [Conn.SetKeepAlive].
func (c *polled) SetKeepAlive(on bool, idle time.Duration) error {
	return c.option(func(fd int) error { return keepAlive(fd, on, idle) })
}

func keepAlive(fd int, on bool, idle time.Duration) error {
	if on && idle > 0 {
		seconds := int((idle + time.Second - 1) / time.Second)
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, seconds); err != nil {
			return err
		}
	}
	return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, number(on))
}

// option sets an option of the socket.
func (c *polled) option(set func(fd int) error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fd < 0 {
		return net.ErrClosed
	}
	return optionError(set(int(c.fd)))
}

// optionError leaves out that a Unix socket has no options of TCP.
func optionError(err error) error {
	if err == unix.EOPNOTSUPP || err == unix.ENOPROTOOPT {
		return nil
	}
	return os.NewSyscallError("setsockopt", err)
}

func number(on bool) int {
	if on {
		return 1
	}
	return 0
}
