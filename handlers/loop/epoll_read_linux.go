package loop

import (
	"errors"
	"fmt"
	"io"

	"github.com/portluck/portluck/handlers"
	"golang.org/x/sys/unix"
)

// readBudget limits how much one turn reads from a connection while others wait.
const readBudget = 64 << 10

// read reads and decodes the available input.
func (c *epollConn) read(r *runner) {
	switch c.life {
	case lifeLingering:
		c.linger(r)
		return
	case lifeHalfOpen:
		c.listen(r)
		return
	}
	defer c.tls.save()
	for r.budget = readBudget; c.life < lifeLeaving; {
		if c.hold() {
			return
		}
		buf, have := c.space(r)
		n, drained, err := c.receive(r, buf[have:])
		switch {
		case err == unix.EAGAIN:
			return
		case err == errBudget:
			c.yield()
			return
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			c.finish(errors.Is(err, io.EOF))
			c.decode(r, buf[:have], true)
			return
		case err != nil:
			c.readFailed(err)
			return
		}
		r.tick()
		r.got = true
		c.hear(r.now)
		if c.decode(r, buf[:have+n], false) || drained {
			return
		}
		if c.tls == nil { // a link counts the bytes of the wire
			r.budget -= n
		}
	}
}

// finish records the end of the peer's input. It is not clean if a write has found that the peer is
// gone.
func (c *epollConn) finish(good bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.eof, c.cut = true, !good || c.sending == sendingBroken && c.x.cause != nil
}

// readFailed ends the connection after a failed read. If the kernel has lost it, nothing more is
// written; after a TLS error the peer may still get an alert.
func (c *epollConn) readFailed(err error) {
	if errno := unix.Errno(0); errors.As(err, &errno) {
		c.mu.Lock()
		c.breakLocked(nil)
		c.mu.Unlock()
	}
	c.leave(fmt.Errorf("read: %w", err))
}

// errBudget means that it is the turn of other connections.
var errBudget = errors.New("read enough for now")

// receive reads once. drained means that there is no more for now; epoll reports more.
func (c *epollConn) receive(r *runner, p []byte) (n int, drained bool, err error) {
	if c.tls != nil {
		return c.tls.read(c, r, p)
	}
	if r.budget <= 0 {
		return 0, false, errBudget
	}
	n, err = readFD(int(c.fd), p)
	if n == 0 && err == nil {
		return 0, true, io.EOF
	}
	return n, c.drains(n, len(p)), err
}

// drains reports whether a read of n bytes into a larger buffer proves that no more is available.
// It does not if a read may stop early: at a FIN or error that epoll reported, or at a mark.
func (c *epollConn) drains(n, room int) bool { return n < room && !c.hung && !c.marks }

func readFD(fd int, p []byte) (int, error) {
	for {
		n, err := recv(fd, p)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return 0, err
		default:
			return n, nil
		}
	}
}

// hold reports whether the connection is not to be read now: it is paused or destroyed, or its peer
// does not read, so that replies would be queued without bound.
func (c *epollConn) hold() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.paused {
		return true
	}
	l := c.loop
	if c.sending == sendingBroken || c.queuedLocked() < l.maxQueue() && (c.x == nil || c.x.asked < l.maxReplies()) {
		return c.isDestroyed()
	}
	c.needLocked().held = true
	return true
}

// yield gives other connections a turn. epoll reports the unread input again.
func (c *epollConn) yield() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.watched {
		c.watchLocked()
	} else {
		c.todo |= doRead
	}
}

// linger discards input.
func (c *epollConn) linger(r *runner) {
	for {
		n, err := readFD(int(c.fd), r.buffer(0))
		if err == unix.EAGAIN {
			return
		}
		c.mu.Lock()
		c.x.swallow += n
		c.eof = c.eof || err != nil || n == 0 || c.x.swallow > lingerMax
		c.mu.Unlock()
		if c.eof {
			c.settle()
			return
		}
	}
}

// decode passes data to the codec until it needs more, and keeps the rest. It reports whether the
// connection is leaving.
func (c *epollConn) decode(r *runner, data []byte, eof bool) bool {
	r.failed, r.told = nil, false
	for {
		r.m.EOF, r.m.Cut, r.m.Partial, r.m.Kept, r.m.HalfOpen = eof, c.cut, false, 0, false
		r.m.Budget = c.loop.budget()
		c.cork(r)
		n, err := c.codec.Decode(data, &r.m)
		c.upgrade(r)
		next, take := r.m.Next != nil, r.m.Hijack
		r.m.Next, r.m.Hijack = nil, nil
		if r.failed == nil && errors.Is(err, io.EOF) {
			c.lastWord(&r.m)
		}
		c.endTurn(&r.m)
		data = data[n:]
		if r.failed != nil {
			err = r.failed
		}
		switch {
		case err == nil && take != nil:
			if !c.hijack(data, take) {
				c.leave(nil)
			}
			return true
		case errors.Is(err, io.EOF):
			c.leave(nil)
			return true
		case err != nil:
			c.leave(err)
			return true
		case !next && c.cut:
			c.leave(io.ErrUnexpectedEOF)
			return true
		case !next && eof:
			if r.m.HalfOpen && c.stay() {
				return true
			}
			c.leave(nil)
			return true
		case !next:
			return !c.keep(r, data)
		}
	}
}

// upgrade installs the codec that Decode returned as the next one.
func (c *epollConn) upgrade(r *runner) {
	if r.m.Next == nil {
		return
	}
	c.mu.Lock()
	c.codec = r.m.Next
	c.mu.Unlock()
}

// Connect announces the client with the codec that the handshake chose.
func (r *runner) Connect(info *handlers.Info) {
	c := r.conn
	c.upgrade(r)
	c.mu.Lock()
	c.replyLocked(&r.m)
	if c.x != nil {
		c.x.shakeBy = 0
	}
	c.life = max(c.life, lifeOpen)
	c.mu.Unlock()
	r.tick()
	c.hear(r.now)
	c.post(doTimer) // the handshake's deadline no longer applies
	r.told = true
	r.failed = c.ev.Connect(info)
}

// Message raises the event unless an earlier event destroyed the connection.
func (r *runner) Message(m handlers.Message) {
	c := r.conn
	if r.failed != nil || c.isDestroyed() {
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

// carry decodes bytes that were read elsewhere, or keeps them for later if the connection is
// paused.
func (c *epollConn) carry(r *runner, p []byte) {
	if c.isPaused() {
		r.told, r.m.Partial, r.m.Kept = false, false, 0
		c.keep(r, p)
		return
	}
	c.decode(r, p, false)
}
