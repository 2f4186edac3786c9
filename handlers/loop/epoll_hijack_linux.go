package loop

import (
	"bytes"
	"net"
	"os"
	"time"

	"github.com/portluck/portluck/handlers"
	"golang.org/x/sys/unix"
)

// hijack takes the connection out of the loop, and gives it to take in a goroutine of its own. Its client ends. The caller
// owns it. It is false when the connection has ended.
func (c *polled) hijack(unread []byte, take func(net.Conn)) bool {
	c.mu.Lock()
	if c.over || c.broken || c.ended {
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
	wire, cipher := c.link.quit()
	c.loop.poller.dismiss(c)
	c.over, c.broken, c.fd = true, true, -1
	c.wakeLocked()
	c.drainedLocked()
	c.dropPartLocked()
	c.dropLocked()
	c.mu.Unlock()
	c.ev.Disconnect(nil)
	go func() { // ends when take has; Loop.Wait waits for it
		defer c.loop.poller.left()
		var err error
		if d.Conn, err = c.reattach(fd, wire, cipher); err != nil {
			d.Conn = gone()
		}
		c.loop.serveHijacked(d, queued, take)
	}()
	return true
}

// reattach makes a net.Conn of the descriptor again. Of TLS wire is what was encrypted and not sent, and cipher what was
// received and not decrypted.
func (c *polled) reattach(fd int, wire, cipher []byte) (net.Conn, error) {
	f := os.NewFile(uintptr(fd), "")
	nc, err := net.FileConn(f)
	f.Close() // net.FileConn has a duplicate
	if err != nil || c.link == nil {
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
	c.link.conn.NetConn().(*handlers.Switch).Set(nc)
	return c.link.conn, nil
}

// quit ends the link, of which this is left.
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
