package loop

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"syscall"

	"github.com/portluck/portluck/handlers"
	"golang.org/x/sys/unix"
)

// detached is a connection that was removed from Go's poller.
type detached struct {
	fd     int
	tls    *tlsLink
	unread []byte
	place  io.Closer // what to close besides the descriptor
}

// canDetach reports whether detach can take the descriptor of c.
func canDetach(c handlers.Conn) bool {
	s := handlers.AsDetacher(c).Socket()
	nc := s.Conn
	if nc == nil {
		return s.FD >= 0
	}
	if tc, ok := nc.(*tls.Conn); ok {
		sw, ok := tc.NetConn().(*handlers.Switch)
		if !ok {
			return false
		}
		nc = sw.Current()
		if d, ok := nc.(*hijacked); ok {
			nc = d.Conn
		}
	}
	return socketOf(nc) != nil
}

// socketOf returns the kernel socket of nc, or nil if it has none.
func socketOf(nc net.Conn) syscall.Conn {
	switch nc := nc.(type) {
	case *net.TCPConn:
		return nc
	case *net.UnixConn:
		return nc
	}
	return nil
}

// detach takes the descriptor of src. Only the place of src is left.
func detach(src handlers.Conn) (d detached, err error) {
	from := handlers.AsDetacher(src)
	s := from.Socket()
	if d.fd = s.FD; s.Conn != nil {
		d, err = takeFrom(s)
	} else if s.FD < 0 { // closed since canDetach
		err = net.ErrClosed
	}
	if err != nil {
		return d, err
	}
	if d.place, err = from.Detach(); err != nil && s.Conn != nil {
		unix.Close(d.fd)
	}
	return d, err
}

// takeFrom takes the descriptor below the net.Conn of s.
func takeFrom(s handlers.Socket) (d detached, err error) {
	d.unread = s.Unread
	tc, ok := s.Conn.(*tls.Conn)
	if !ok {
		d.fd, err = take(s.Conn)
		return d, err
	}
	sw := tc.NetConn().(*handlers.Switch)
	link := &tlsLink{conn: tc}
	nc := sw.Current()
	if old, ok := nc.(*hijacked); ok { // hijacked from a loop, without TLS
		nc, link.in = old.Conn, old.unread
	}
	if d.fd, err = take(nc); err == nil {
		d.tls = link
		sw.Set(link)
	}
	return d, err
}

// take duplicates the descriptor of nc and closes nc, which removes it from Go's poller.
func take(nc net.Conn) (int, error) {
	socket := socketOf(nc)
	if socket == nil { // it has changed since canDetach
		return -1, errors.ErrUnsupported
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return -1, err
	}
	fd, dupErr := -1, error(nil)
	if err := raw.Control(func(old uintptr) { fd, dupErr = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0) }); err != nil {
		return -1, err
	}
	if dupErr != nil {
		return -1, os.NewSyscallError("fcntl", dupErr)
	}
	_ = nc.Close() // the duplicate keeps the socket open
	return fd, nil
}

// shutWrite sends FIN.
func shutWrite(fd int) error {
	return os.NewSyscallError("shutdown", unix.Shutdown(fd, unix.SHUT_WR))
}
