package udp

import (
	"encoding/binary"
	"net/netip"
)

// Reflector reports whether a datagram from this source port is more likely forged than genuine.
// That is so for ports of services that answer any datagram, which a forged one would make talk to
// this server without end, and for ports that no service uses.
func Reflector(port uint16) bool {
	switch port {
	case 0, // a datagram to port 0 cannot be sent
		7, 9, 13, 17, 19, 37, // echo, discard, daytime, qotd, chargen, time
		// dns, tftp, portmap, ntp, ...
		53, 69, 111, 123, 137, 138, 161, 389, 427, 500, 520, 1434, 1900, 3702, 5353, 5355, 11211:
		return true
	}
	return false
}

// refuses reports whether datagrams from a source are dropped.
func (s *Server) refuses(k key) bool {
	port := k.remote.Port()
	switch {
	case !k.remote.IsValid() || k.remote.Addr().IsUnspecified() || k.remote.Addr().IsMulticast():
		return true
	case port == 0, k.path.socket.ours(k.remote):
		return true
	case s.RefusePort != nil:
		return k.path.socket.refusesPort(port)
	}
	return Reflector(port)
}

// refusesPort calls RefusePort. If that panics, the port is refused.
func (k *socket) refusesPort(port uint16) bool {
	refused := true
	k.apart(func() { refused = k.srv.RefusePort(port) })
	return refused
}

// ours reports whether a is an address of k. Answering a datagram from there, which is forged,
// would make the server talk to itself.
func (k *socket) ours(a netip.AddrPort) bool {
	base := k.paths.base.local
	return a == base || a.Port() == base.Port() && k.paths.byLocal[a.Addr()] != nil
}

// isQUIC reports whether p begins a QUIC connection (RFC 9000, section 14.1, and RFC 9369). A
// browser that tries HTTP/3 is not a client of messages.
func isQUIC(p []byte) bool {
	if len(p) < 1200 || p[0]&0xc0 != 0xc0 {
		return false
	}
	version := binary.BigEndian.Uint32(p[1:])
	return version == 1 || version == 0x6b3343cf
}
