package handlers

import (
	"errors"
	"net"
	"net/netip"
)

// CloseWrite closes the sending side of nc, as [net.TCPConn.CloseWrite] does. If nc has no such
// method, CloseWrite does nothing and returns [errors.ErrUnsupported].
func CloseWrite(nc net.Conn) error {
	if c, ok := nc.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return errors.ErrUnsupported
}

// AddrPort returns the address and port of a, if it is a [net.TCPAddr] or a [net.UDPAddr], and else
// the zero AddrPort: the text of any other address may be what the peer has chosen, as on a Unix
// socket. An IPv4 address in IPv6 becomes IPv4, as a server with both has it from its listener.
func AddrPort(a net.Addr) netip.AddrPort {
	var at netip.AddrPort
	switch a := a.(type) {
	case *net.TCPAddr:
		at = a.AddrPort()
	case *net.UDPAddr:
		at = a.AddrPort()
	}
	return netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
}
