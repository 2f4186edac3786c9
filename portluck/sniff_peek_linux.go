package portluck

import (
	"errors"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// peekAt classifies c by the bytes that have come so far.
func (p *port) peekAt(c *conn, buf []byte, hup bool) (r *route, first []byte, err error) {
	fd, err := c.fd()
	if err != nil {
		return nil, nil, err
	}
	for {
		n, err := recvPeek(fd, buf)
		if err != nil {
			return nil, nil, c.fails(os.NewSyscallError("recv", err))
		}
		eof := n == 0
		if n > 0 && hup {
			eof = !hasMore(fd, n, buf)
		}
		r, skip, err := p.look(c, buf[:max(n, 0)], eof)
		switch {
		case skip > 0 && err == nil:
		case r == nil && err == nil && n > 0 && c.eager:
			return nil, buf[:n], errMarked
		case r == nil && err == nil && n > 0 && hasMore(fd, n, buf):
			if again, err := recvPeek(fd, buf); err != nil || again > n {
				continue // more has come meanwhile
			}
			return nil, buf[:n], errMarked
		default:
			return r, buf[:max(n, 0)], err
		}
		if _, err := unix.Read(fd, buf[:skip]); err != nil {
			return nil, nil, os.NewSyscallError("read", err)
		}
		c.seen = 0
	}
}

// errMarked means that a connection must be read to be classified: it is eager, or a peek ends at
// a mark, the place of urgent data or of a passed descriptor, with more bytes behind it.
var errMarked = errors.New("a mark")

// hasMore reports whether the kernel has more than the n bytes that a peek into buf found.
func hasMore(fd, n int, buf []byte) bool {
	if n == len(buf) {
		return false // buf is full: no matcher sees more
	}
	all, err := unix.IoctlGetInt(fd, unix.SIOCINQ)
	return err == nil && all > n
}

// recvPeek peeks at the received bytes. It returns how many there are, 0 at the end of the stream,
// or -1 if there are none yet. It does not tell Go's scheduler of the system call: that costs more
// than such a call takes. buf must not be empty.
func recvPeek(fd int, buf []byte) (int, error) {
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(&buf[0])), uintptr(len(buf)), unix.MSG_PEEK|unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case 0:
			return int(n), nil
		case syscall.EAGAIN:
			return -1, nil
		case syscall.EINTR:
		default:
			return 0, errno
		}
	}
}

// readOn makes a reader classify c, which no other goroutine uses.
func (p *port) readOn(c *conn) {
	nc, err := c.NetConn()
	if err != nil {
		p.drop(c, err)
		return
	}
	c.mu.Lock()
	closed := c.closed
	c.sock = replayed{&replayConn{Conn: nc}}
	c.mu.Unlock()
	if closed {
		nc.Close()
		return
	}
	p.sniffReader(c)
}
