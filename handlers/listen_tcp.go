package handlers

import (
	"context"
	"errors"
	"net"
	"runtime"
	"syscall"
)

// control is a func for [net.ListenConfig.Control].
type control func(network, address string, raw syscall.RawConn) error

// ListenTCP listens as lc does, on "tcp", "tcp4" or "tcp6", with two differences on Linux.
// Connections give TCP urgent data as data (RFC 6093, section 6). Without a host, network tcp
// listens for IPv6 also on a machine that has no IPv4, where package net listens for IPv4 alone.
// Multipath TCP is off, as its connections do not inherit what is set on the listener.
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

// both calls a, then b, which may be nil.
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

// InlineUrgent makes nc give TCP urgent data, and that of a Unix socket, as data. It is for the
// connections of listeners that are not [ListenTCP]'s. It does nothing to other kinds of
// connections, nor on other systems than Linux.
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
