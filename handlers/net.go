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

// AddrPort returns the address and port of a [net.TCPAddr] or a [net.UDPAddr]. For any other
// address it returns the zero AddrPort, because the peer may have chosen the text, as on a Unix
// socket. An IPv4 address that is mapped to IPv6, as a listener for both has it, becomes IPv4.
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
