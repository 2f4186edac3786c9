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
	// Below is what its net.Conn is, or will be, made of; nil if it is a bare descriptor.
	Below() net.Conn
	// Descriptor returns the bare descriptor, which is the loop's from then on, and what [handlers.Detacher] would.
	Descriptor() (fd int, place io.Closer, err error)
}

// A Replayer is a net.Conn some of whose bytes were read already.
type Replayer interface {
	// NetConn is the net.Conn below.
	NetConn() net.Conn
	// Replay returns it and those bytes, which are given only once.
	Replay() (nc net.Conn, unread []byte)
}

// detached is a connection that was taken away from Go's poller.
type detached struct {
	fd     int
	link   *tlsLink
	unread []byte
	place  io.Closer // what is to be closed besides the descriptor
}

// canDetach reports whether detach can have the descriptor of c.
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

// socketOf is a connection of the kernel's, or nil.
func socketOf(nc net.Conn) syscall.Conn {
	switch nc := nc.(type) {
	case *net.TCPConn:
		return nc
	case *net.UnixConn:
		return nc
	}
	return nil
}

// detach takes the descriptor of src, of which nothing but its place is left.
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

// takeFrom takes the descriptor below a net.Conn.
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
	if old, ok := nc.(*hijacked); ok { // it has left a loop in the clear
		nc, link.in = old.Conn, old.unread
	}
	if d.fd, err = take(nc); err == nil {
		d.link = link
		sw.Set(link)
	}
	return d, err
}

// take duplicates the descriptor of nc and closes nc, whose registration with Go's poller ends with it.
func take(nc net.Conn) (int, error) {
	socket := socketOf(nc)
	if socket == nil { // it was one when canDetach looked
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
	_ = nc.Close() // of the duplicate's socket nothing is closed
	return fd, nil
}
