package udp

import (
	"net"
	"net/netip"
	"time"

	"github.com/portluck/portluck/handlers"
)

// guarded is a socket of the program's making, whose panics are errors.
type guarded struct{ pc net.PacketConn }

// guard returns the error of f, or its panic.
func guard(f func() error) (err error) {
	if p := handlers.Guard(func() { err = f() }); p != nil {
		return p
	}
	return err
}

// ReadFrom is net.PacketConn's.
func (g guarded) ReadFrom(p []byte) (n int, from net.Addr, err error) {
	err = guard(func() (err error) {
		if n, from, err = g.pc.ReadFrom(p); err == nil {
			p, from = p[:n], net.UDPAddrFromAddrPort(addrPort(from)) // n may be too much, and from panic
		}
		return err
	})
	return n, from, err
}

// WriteTo is net.PacketConn's.
func (g guarded) WriteTo(p []byte, to net.Addr) (n int, err error) {
	err = guard(func() (err error) {
		n, err = g.pc.WriteTo(p, to)
		return err
	})
	return n, err
}

// LocalAddr is net.PacketConn's, but the unspecified address for one that is none.
func (g guarded) LocalAddr() net.Addr {
	var at netip.AddrPort
	_ = handlers.Guard(func() { at = addrPort(g.pc.LocalAddr()) })
	return net.UDPAddrFromAddrPort(at)
}

// Close is net.PacketConn's.
func (g guarded) Close() error { return guard(g.pc.Close) }

// SetDeadline is net.PacketConn's.
func (g guarded) SetDeadline(t time.Time) error {
	return guard(func() error { return g.pc.SetDeadline(t) })
}

// SetReadDeadline is net.PacketConn's.
func (g guarded) SetReadDeadline(t time.Time) error {
	return guard(func() error { return g.pc.SetReadDeadline(t) })
}

// SetWriteDeadline is net.PacketConn's.
func (g guarded) SetWriteDeadline(t time.Time) error {
	return guard(func() error { return g.pc.SetWriteDeadline(t) })
}
