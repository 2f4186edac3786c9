package loop

import (
	"bytes"
	"net"
	"os"
	"time"

	"github.com/portluck/portluck/handlers"
	"golang.org/x/sys/unix"
)

// hijack removes the connection from the loop, ends its client and calls take with the connection
// in a new goroutine. The caller must own c. It returns false if the connection has ended.
func (c *epollConn) hijack(unread []byte, take func(net.Conn)) bool {
	c.mu.Lock()
	if c.life == lifeOver || c.sending > sendingOpen {
		c.mu.Unlock()
		c.loop.hand(nil, take)
		return false
	}
	d := &hijacked{place: c.place, unread: bytes.Clone(unread)}
	var queued []byte
	if x := c.x; x != nil {
		queued = bytes.Clone(x.out[x.at:])
	}
	if c.watched {
		_ = unix.EpollCtl(c.loop.poller.set.fd, unix.EPOLL_CTL_DEL, int(c.fd), nil)
	}
	fd := int(c.fd)
	wire, cipher := c.tls.quit()
	c.loop.poller.dismiss(c)
	c.life, c.sending, c.fd = lifeOver, sendingBroken, -1
	c.wakeLocked()
	c.drainedLocked()
	c.dropPartLocked()
	c.dropLocked()
	c.mu.Unlock()
	c.ev.Disconnect(nil)
	go func() { // ends when take returns; Loop.Wait waits for it
		defer c.loop.poller.left()
		var err error
		if d.Conn, err = c.reattach(fd, wire, cipher); err != nil {
			d.Conn = gone()
		}
		c.loop.serveHijacked(d, queued, take)
	}()
	return true
}

// reattach returns a net.Conn for the descriptor fd. For TLS, wire holds encrypted bytes that were
// not sent, and cipher received bytes that were not decrypted.
func (c *epollConn) reattach(fd int, wire, cipher []byte) (net.Conn, error) {
	f := os.NewFile(uintptr(fd), "")
	nc, err := net.FileConn(f)
	f.Close() // net.FileConn duplicates it
	if err != nil || c.tls == nil {
		return nc, err
	}
	if len(wire) > 0 {
		_ = nc.SetWriteDeadline(time.Now().Add(closeWait))
		if _, err := nc.Write(wire); err != nil {
			nc.Close()
			return nil, err
		}
	}
	if len(cipher) > 0 {
		nc = &hijacked{Conn: nc, unread: cipher}
	}
	c.tls.conn.NetConn().(*handlers.Switch).Set(nc)
	return c.tls.conn, nil
}

// Dup returns a net.Conn with a duplicate of the descriptor, without TLS. It lets others wait for
// the end of the connection, even while a callback runs.
func (c *epollConn) Dup() (net.Conn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fd < 0 {
		return nil, net.ErrClosed
	}
	fd, err := unix.FcntlInt(uintptr(c.fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	f := os.NewFile(uintptr(fd), "")
	defer f.Close() // net.FileConn duplicates it
	return net.FileConn(f)
}

// quit ends the link and returns its unsent and undecrypted bytes.
func (t *tlsLink) quit() (wire, cipher []byte) {
	if t == nil {
		return nil, nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	wire, cipher = t.wire, bytes.Clone(t.in)
	t.wire, t.in = nil, nil
	return wire, cipher
}
