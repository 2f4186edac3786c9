package loop

import (
	"time"

	"golang.org/x/sys/unix"
)

// Flush is [Conn.Flush].
func (c *epollConn) Flush() { c.flush() }

// Pause is [Conn.Pause].
func (c *epollConn) Pause() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.paused = true
}

// Resume is [Conn.Resume]. It posts a read, because epoll does not repeat what it reported during
// the pause.
func (c *epollConn) Resume() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.paused {
		c.paused = false
		c.postLocked(doResume | doRead)
	}
}

func (c *epollConn) isPaused() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.paused
}

// resumed decodes what was kept during a pause. It returns false if the connection is leaving.
func (c *epollConn) resumed(r *runner) bool {
	return !c.part || c.life >= lifeLeaving || c.isPaused() || !c.decode(r, c.x.part, false)
}

// stay keeps a connection whose peer has sent FIN. It returns false if the program has ended it
// too.
func (c *epollConn) stay() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.isDestroyed(), c.sending > sendingOpen && (c.sending < sendingBroken || c.x.ended):
		return false
	case c.sending == sendingBroken:
		c.leaveLocked(errLost)
		return false
	}
	c.life, c.begun = lifeHalfOpen, false
	c.dropPartLocked()
	if c.x != nil {
		c.x.since = 0
	}
	c.tidyLocked()
	return true
}

// listen checks whether a peer that has sent FIN is gone. A read alone reports only the FIN.
func (c *epollConn) listen(r *runner) {
	_, err := readFD(int(c.fd), r.buffer(0))
	if err == nil || err == unix.EAGAIN {
		c.mu.Lock()
		if err = nil; c.sending != sendingFIN { // if not, both sides have ended
			err = lost(int(c.fd))
		}
		c.mu.Unlock()
	}
	if err != nil {
		c.readFailed(err)
	}
}

// lost returns why nothing can be sent on an open socket, or nil if something can.
func lost(fd int) error {
	p := []unix.PollFd{{Fd: int32(fd)}}
	if n, err := unix.Poll(p, 0); n <= 0 || err != nil || p[0].Revents&(unix.POLLERR|unix.POLLHUP) == 0 {
		return nil
	}
	if errno, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR); err == nil && errno != 0 {
		return unix.Errno(errno)
	}
	return unix.EPIPE
}

// Wake is [Conn.Wake].
func (c *epollConn) Wake(d time.Duration) {
	if d <= 0 {
		c.post(doWake)
		return
	}
	c.loop.poller.hasten(c, c.now()+uint64((d+time.Millisecond-1)/time.Millisecond))
}

// wakes calls Woken of the events and reports whether that ended the connection or took it out of
// the loop.
func (c *epollConn) wakes(r *runner) bool {
	w, ok := c.ev.(Waker)
	if !ok || c.isDestroyed() || c.life >= lifeLeaving {
		return false
	}
	c.cork(r)
	again := w.Woken(time.Duration(c.sinceActive(c.now()))*time.Millisecond, &r.m)
	c.upgrade(r)
	next, take := r.m.Next != nil, r.m.Hijack
	r.m.Next, r.m.Hijack = nil, nil
	c.endTurn(&r.m)
	if again > 0 {
		c.Wake(again)
	}
	if take == nil {
		return next && !c.resumed(r)
	}
	var unread []byte
	if c.part {
		unread = c.x.part
	}
	return c.hijack(unread, take)
}
