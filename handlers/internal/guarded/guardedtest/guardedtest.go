// Package guardedtest has connections and listeners that panic, as a program's own may.
package guardedtest

import (
	"net"
	"runtime"
	"sync/atomic"
	"time"
)

// Methods lists the methods of a [Conn] that can panic. "Addrs" stands for the String methods of
// its addresses.
var Methods = []string{
	"Read", "Write", "Close", "CloseWrite", "SetDeadline", "SetReadDeadline", "SetWriteDeadline", "LocalAddr", "RemoteAddr", "Addrs",
}

// A Conn is a TCP connection with one method that panics at each call, after doing its work.
type Conn struct {
	net.Conn
	Method string
	Exits  bool // Method ends its goroutine instead of panicking
}

func (c *Conn) panics(method string) {
	if method == c.Method {
		fail(c.Exits)
	}
}

func fail(exits bool) {
	if exits {
		runtime.Goexit()
	}
	panic("of the program")
}

// Read is net.Conn's.
func (c *Conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.panics("Read")
	return n, err
}

// Write is net.Conn's.
func (c *Conn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.panics("Write")
	return n, err
}

// Close is net.Conn's.
func (c *Conn) Close() error {
	err := c.Conn.Close()
	c.panics("Close")
	return err
}

// CloseWrite is that of [net.TCPConn].
func (c *Conn) CloseWrite() error {
	err := c.Conn.(*net.TCPConn).CloseWrite()
	c.panics("CloseWrite")
	return err
}

// SetDeadline is net.Conn's.
func (c *Conn) SetDeadline(t time.Time) error {
	err := c.Conn.SetDeadline(t)
	c.panics("SetDeadline")
	return err
}

// SetReadDeadline is net.Conn's.
func (c *Conn) SetReadDeadline(t time.Time) error {
	err := c.Conn.SetReadDeadline(t)
	c.panics("SetReadDeadline")
	return err
}

// SetWriteDeadline is net.Conn's.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	err := c.Conn.SetWriteDeadline(t)
	c.panics("SetWriteDeadline")
	return err
}

// LocalAddr is net.Conn's.
func (c *Conn) LocalAddr() net.Addr {
	c.panics("LocalAddr")
	return c.addr(c.Conn.LocalAddr())
}

// RemoteAddr is net.Conn's.
func (c *Conn) RemoteAddr() net.Addr {
	c.panics("RemoteAddr")
	return c.addr(c.Conn.RemoteAddr())
}

func (c *Conn) addr(a net.Addr) net.Addr {
	if c.Method == "Addrs" {
		return panicking{c.Exits}
	}
	return a
}

// panicking is an address whose String panics.
type panicking struct{ exits bool }

func (panicking) Network() string { return "tcp" }

func (p panicking) String() string {
	fail(p.exits)
	return ""
}

// A Listener makes its first connection panic in Method. If Method is "Accept" the first Accept
// panics, if it is "Listener.Close" each Close does, and if it is "nothing" the first Accept
// returns neither a connection nor an error.
type Listener struct {
	net.Listener
	Method   string
	Exits    bool // instead of a panic, see Conn
	accepted atomic.Int64
}

// Accept is net.Listener's.
func (l *Listener) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	first := l.accepted.Add(1) == 1
	switch {
	case err != nil || !first:
		return nc, err
	case l.Method == "Accept":
		nc.Close()
		fail(l.Exits)
	case l.Method == "nothing":
		nc.Close()
		return nil, nil
	}
	return &Conn{nc, l.Method, l.Exits}, nil
}

// Close is net.Listener's.
func (l *Listener) Close() error {
	err := l.Listener.Close()
	if l.Method == "Listener.Close" {
		fail(l.Exits)
	}
	return err
}

// Listeners lists the values of Method of a [Listener] beyond [Methods].
var Listeners = []string{"Accept", "nothing", "Listener.Close"}
