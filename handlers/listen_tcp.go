package handlers

import (
	"context"
	"errors"
	"net"
	"runtime"
	"syscall"
)

// control is the type of [net.ListenConfig.Control].
type control func(network, address string, raw syscall.RawConn) error

// ListenTCP listens as lc does, on "tcp", "tcp4" or "tcp6", with two differences on Linux.
// Connections deliver TCP urgent data in line with other data (RFC 6093, section 6). If address has
// no host, network "tcp" listens for IPv6 even on a machine that has no IPv4, where package net
// listens for IPv4 only. Multipath TCP is off, as its connections do not inherit the listener's
// socket options.
func ListenTCP(lc net.ListenConfig, network, address string) (net.Listener, error) {
	lc.SetMultipathTCP(false)
	own := lc.Control
	host, port, err := net.SplitHostPort(address)
	if err == nil && host == "" && network == "tcp" && runtime.GOOS == "linux" {
		lc.Control = both(both(takeIPv4, inlineUrgent), own)
		l, err := lc.Listen(context.Background(), "tcp6", net.JoinHostPort("::", port))
		if err == nil || errors.Is(err, syscall.EADDRINUSE) {
			return l, err
		}
	}
	lc.Control = both(inlineUrgent, own)
	return lc.Listen(context.Background(), network, address)
}

// both returns a control that calls a, then b if it is not nil.
func both(a, b control) control {
	if b == nil {
		return a
	}
	return func(network, address string, raw syscall.RawConn) error {
		if err := a(network, address, raw); err != nil {
			return err
		}
		return b(network, address, raw)
	}
}

// InlineUrgent makes nc, a TCP or Unix connection, deliver urgent data in line with other data. It
// is for connections whose listener does not come from [ListenTCP]. It does nothing to other
// connections, and nothing on systems other than Linux.
func InlineUrgent(nc net.Conn) {
	switch nc := nc.(type) {
	case *net.TCPConn:
		inline(nc)
	case *net.UnixConn:
		inline(nc)
	}
}

func inline(sc syscall.Conn) {
	if raw, err := sc.SyscallConn(); err == nil {
		_ = inlineUrgent("", "", raw) // a closed connection has none
	}
}
