// Package guarded makes errors of the panics in connections and listeners that a program has made.
// They are called on goroutines of ours, where a panic would end the process.
package guarded

import (
	"errors"
	"net"
	"syscall"
	"time"

	"github.com/portluck/portluck/handlers"
)

// errCount is for a Read or Write that breaks the contract of its interface.
var errCount = errors.New("a connection has returned an impossible count")

// errNoConn is for an Accept that returns neither a connection nor an error.
var errNoConn = errors.New("the listener has returned no connection")

// Call returns the error of f, or a *[handlers.PanicError] if f panics.
func Call(f func() error) (err error) {
	if p := handlers.Guard(func() { err = f() }); p != nil {
		return p
	}
	return err
}

// Conn returns nc with a panic of each method as its error: those of net.Conn, CloseWrite,
// SyscallConn and SetKeepAliveConfig, which are errors.ErrUnsupported if nc has none. TCP and Unix
// connections of package net are returned as they are.
func Conn(nc net.Conn) net.Conn {
	switch nc.(type) {
	case *net.TCPConn, *net.UnixConn, *conn:
		return nc
	}
	return &conn{nc}
}

type conn struct{ nc net.Conn }

func (c *conn) Read(p []byte) (n int, err error) {
	err = Call(func() (err error) {
		n, err = c.nc.Read(p)
		return err
	})
	return Counted(n, p, err)
}

func (c *conn) Write(p []byte) (n int, err error) {
	err = Call(func() (err error) {
		n, err = c.nc.Write(p)
		return err
	})
	return Counted(n, p, err)
}

// Counted returns n and err of a Read or Write of p, or 0 and an error if n is impossible.
func Counted(n int, p []byte, err error) (int, error) {
	if n >= 0 && n <= len(p) {
		return n, err
	}
	if err == nil {
		err = errCount
	}
	return 0, err
}

func (c *conn) Close() error { return Call(c.nc.Close) }

func (c *conn) LocalAddr() net.Addr { return addrOf(func() net.Addr { return c.nc.LocalAddr() }) }

func (c *conn) RemoteAddr() net.Addr { return addrOf(func() net.Addr { return c.nc.RemoteAddr() }) }

func (c *conn) SetDeadline(t time.Time) error {
	return Call(func() error { return c.nc.SetDeadline(t) })
}

func (c *conn) SetReadDeadline(t time.Time) error {
	return Call(func() error { return c.nc.SetReadDeadline(t) })
}

func (c *conn) SetWriteDeadline(t time.Time) error {
	return Call(func() error { return c.nc.SetWriteDeadline(t) })
}

func (c *conn) CloseWrite() error {
	if w, ok := c.nc.(interface{ CloseWrite() error }); ok {
		return Call(w.CloseWrite)
	}
	return errors.ErrUnsupported
}

func (c *conn) SyscallConn() (raw syscall.RawConn, err error) {
	s, ok := c.nc.(syscall.Conn)
	if !ok {
		return nil, errors.ErrUnsupported
	}
	err = Call(func() (err error) {
		raw, err = s.SyscallConn()
		return err
	})
	return raw, err
}

func (c *conn) SetKeepAliveConfig(config net.KeepAliveConfig) error {
	if k, ok := c.nc.(interface {
		SetKeepAliveConfig(net.KeepAliveConfig) error
	}); ok {
		return Call(func() error { return k.SetKeepAliveConfig(config) })
	}
	return errors.ErrUnsupported
}

// addr is the text of an address of the program's making.
type addr struct{ network, text string }

func (a addr) Network() string { return a.network }
func (a addr) String() string  { return a.text }

// addrOf returns what get does, in a form that does not panic: empty if it has.
func addrOf(get func() net.Addr) net.Addr {
	var a net.Addr = addr{}
	_ = handlers.Guard(func() {
		switch got := get().(type) {
		case nil:
		case *net.TCPAddr, *net.UnixAddr, *net.UDPAddr:
			a = got
		default:
			a = addr{got.Network(), got.String()}
		}
	})
	return a
}

// Listener returns l with a panic of each method as its error. Its connections are those of [Conn].
func Listener(l net.Listener) net.Listener { return &listener{l} }

type listener struct{ l net.Listener }

func (l *listener) Accept() (nc net.Conn, err error) {
	err = Call(func() (err error) {
		nc, err = l.l.Accept()
		return err
	})
	switch {
	case err != nil:
		return nil, err
	case nc == nil:
		return nil, errNoConn
	}
	return Conn(nc), nil
}

func (l *listener) Close() error { return Call(l.l.Close) }

func (l *listener) Addr() net.Addr { return addrOf(func() net.Addr { return l.l.Addr() }) }
