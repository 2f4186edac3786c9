// Package guarded protects the caller from connections and listeners that the program made. It
// turns a panic, which would end the process, and a runtime.Goexit, which would end the calling
// goroutine, into errors.
package guarded

import (
	"errors"
	"net"
	"syscall"
	"time"

	"github.com/portluck/portluck/handlers"
)

// errCount is the error of a Read or Write that returns an impossible count.
var errCount = errors.New("a connection has returned an impossible count")

// errNoConn is the error of an Accept that returns neither a connection nor an error.
var errNoConn = errors.New("the listener has returned no connection")

// Call returns the error of f, or a *[handlers.PanicError] if f panics.
func Call(f func() error) (err error) {
	if p := handlers.Guard(func() { err = f() }); p != nil {
		return p
	}
	return err
}

// apart is like Call, but runs f in a goroutine of its own. If f ends that goroutine, the error is
// a *[handlers.PanicError] too.
func apart(f func() error) (err error) {
	done := make(chan error, 1)
	go func() { // ends with f
		done <- handlers.GuardExit(func() { err = f() }, func(p error) { done <- p })
	}()
	if p := <-done; p != nil {
		return p
	}
	return err
}

// Conn wraps nc so that a method that panics, or ends its goroutine, returns an error instead. The
// wrapper has the methods of net.Conn and also CloseWrite, SyscallConn and SetKeepAliveConfig,
// which return errors.ErrUnsupported if nc lacks them. Conn returns TCP and Unix connections of
// package net unchanged.
func Conn(nc net.Conn) net.Conn {
	switch nc.(type) {
	case *net.TCPConn, *net.UnixConn, *conn:
		return nc
	}
	return &conn{nc, apart}
}

// FromPort is like Conn, for a connection that a port has accepted. If nc has a descriptor, its
// methods end no goroutine and are called in that of the caller.
func FromPort(nc net.Conn) net.Conn {
	guarded := Conn(nc)
	if c, ok := guarded.(*conn); ok && c.call(func() error { return hasDescriptor(nc) }) == nil {
		c.call = Call
	}
	return guarded
}

// hasDescriptor returns an error if there is no descriptor below nc.
func hasDescriptor(nc net.Conn) error {
	for {
		over, ok := nc.(interface{ NetConn() net.Conn })
		if !ok {
			break
		}
		nc = over.NetConn()
	}
	if _, ok := nc.(syscall.Conn); !ok {
		return errors.ErrUnsupported
	}
	return nil
}

type conn struct {
	nc   net.Conn
	call func(f func() error) error
}

func (c *conn) Read(p []byte) (n int, err error) {
	err = c.call(func() (err error) {
		n, err = c.nc.Read(p)
		return err
	})
	return Counted(n, p, err)
}

func (c *conn) Write(p []byte) (n int, err error) {
	err = c.call(func() (err error) {
		n, err = c.nc.Write(p)
		return err
	})
	return Counted(n, p, err)
}

// Counted returns n and err, the results of a Read or Write of p, or 0 and an error if n is
// impossible.
func Counted(n int, p []byte, err error) (int, error) {
	if n >= 0 && n <= len(p) {
		return n, err
	}
	if err == nil {
		err = errCount
	}
	return 0, err
}

func (c *conn) Close() error { return c.call(c.nc.Close) }

func (c *conn) LocalAddr() net.Addr { return addrOf(c.call, c.nc.LocalAddr) }

func (c *conn) RemoteAddr() net.Addr { return addrOf(c.call, c.nc.RemoteAddr) }

func (c *conn) SetDeadline(t time.Time) error {
	return c.call(func() error { return c.nc.SetDeadline(t) })
}

func (c *conn) SetReadDeadline(t time.Time) error {
	return c.call(func() error { return c.nc.SetReadDeadline(t) })
}

func (c *conn) SetWriteDeadline(t time.Time) error {
	return c.call(func() error { return c.nc.SetWriteDeadline(t) })
}

func (c *conn) CloseWrite() error {
	return c.call(func() error { return handlers.CloseWrite(c.nc) })
}

func (c *conn) SyscallConn() (raw syscall.RawConn, err error) {
	s, ok := c.nc.(syscall.Conn)
	if !ok {
		return nil, errors.ErrUnsupported
	}
	err = c.call(func() (err error) {
		raw, err = s.SyscallConn()
		return err
	})
	return raw, err
}

func (c *conn) SetKeepAliveConfig(config net.KeepAliveConfig) error {
	if k, ok := c.nc.(interface {
		SetKeepAliveConfig(net.KeepAliveConfig) error
	}); ok {
		return c.call(func() error { return k.SetKeepAliveConfig(config) })
	}
	return errors.ErrUnsupported
}

// addr is the copied text of an address that the program made.
type addr struct{ network, text string }

func (a addr) Network() string { return a.network }
func (a addr) String() string  { return a.text }

// addrOf returns the address that get returns, in a form that cannot panic. The address is empty if
// get panics.
func addrOf(call func(f func() error) error, get func() net.Addr) net.Addr {
	var a net.Addr = addr{}
	_ = call(func() error {
		switch got := get().(type) {
		case nil:
		case *net.TCPAddr, *net.UnixAddr, *net.UDPAddr:
			a = got
		default:
			a = addr{got.Network(), got.String()}
		}
		return nil
	})
	return a
}

// Listener wraps l so that a method that panics, or ends its goroutine, returns an error instead.
// It wraps accepted connections with [Conn].
func Listener(l net.Listener) net.Listener { return &listener{l} }

type listener struct{ l net.Listener }

func (l *listener) Accept() (nc net.Conn, err error) {
	err = apart(func() (err error) {
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

func (l *listener) Close() error { return apart(l.l.Close) }

func (l *listener) Addr() net.Addr { return addrOf(apart, l.l.Addr) }
