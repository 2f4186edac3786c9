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

// A Descriptor is a connection that may be a bare descriptor, which Go's poller does not know.
type Descriptor interface {
	// Below returns what its net.Conn is or will be made of, nil for a bare descriptor.
	Below() net.Conn
	// Descriptor returns the bare descriptor, which the loop owns from then on, and its place, as
	// [handlers.Detacher] does.
	Descriptor() (fd int, place io.Closer, err error)
}

// A Replayer is a net.Conn some of whose bytes have already been read.
type Replayer interface {
	// NetConn returns the net.Conn below.
	NetConn() net.Conn
	// Replay returns the net.Conn below and those bytes. It returns the bytes only once.
	Replay() (nc net.Conn, unread []byte)
}

// detached is a connection that was removed from Go's poller.
type detached struct {
	fd     int
	tls    *tlsLink
	unread []byte
	place  io.Closer // what to close besides the descriptor
}

// canDetach reports whether detach can take the descriptor of c.
func canDetach(c handlers.Conn) bool {
	var nc net.Conn
	if d, ok := c.(Descriptor); ok {
		if nc = d.Below(); nc == nil {
			return true
		}
	} else if nc, _ = c.NetConn(); nc == nil {
		return false
	}
	if r, ok := nc.(Replayer); ok {
		nc = r.NetConn()
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
	if b, ok := src.(Descriptor); ok && b.Below() == nil {
		d.fd, d.place, err = b.Descriptor()
		return d, err
	}
	if d, err = takeFrom(src); err != nil {
		return d, err
	}
	d.place = src
	if o, ok := src.(handlers.Detacher); ok {
		d.place = o.Detach()
	}
	return d, nil
}

// takeFrom takes the descriptor below the net.Conn of src.
func takeFrom(src handlers.Conn) (d detached, err error) {
	nc, err := src.NetConn()
	if err != nil {
		return d, err
	}
	if r, ok := nc.(Replayer); ok {
		nc, d.unread = r.Replay()
	}
	tc, ok := nc.(*tls.Conn)
	if !ok {
		d.fd, err = take(nc)
		return d, err
	}
	sw := tc.NetConn().(*handlers.Switch)
	link := &tlsLink{conn: tc}
	nc = sw.Current()
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
