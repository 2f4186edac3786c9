package udp

import (
	"net"
	"net/netip"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// path is a local address that datagrams have come to, and that replies are sent from. All clients
// of a socket that talk to the same address share one path.
type path struct {
	socket *socket
	local  netip.AddrPort
	// The control message that makes the system send from local; nil if the system has no choice.
	oob []byte
}

// maxPaths bounds the local addresses of a socket that are told apart, as a host with a route for a
// whole prefix may have any number. For the other addresses, the system chooses the source of
// replies.
const maxPaths = 1024

// oobSpace is enough for a control message with the address, of either family.
const oobSpace = 128

// paths finds the path of a datagram. It is used by one goroutine at a time.
type paths struct {
	base    *path                // the path of the address that the socket is bound to
	byOOB   map[string]*path     // by the control message, which saves parsing it
	byLocal map[netip.Addr]*path // by the address in it
}

// learn asks the system for the address that each datagram came to, if the socket has more than
// one. If the system cannot tell, it also chooses the address that replies are sent from.
func learn(pc *net.UDPConn, local netip.AddrPort) {
	if !local.Addr().IsUnspecified() {
		return
	}
	_ = ipv4.NewPacketConn(pc).SetControlMessage(ipv4.FlagDst|ipv4.FlagInterface, true)
	if local.Addr().Is6() {
		_ = ipv6.NewPacketConn(pc).SetControlMessage(ipv6.FlagDst|ipv6.FlagInterface, true)
	}
}

// of returns the path of a datagram that came with oob.
func (s *paths) of(oob []byte) *path {
	if len(oob) == 0 {
		return s.base
	}
	if p := s.byOOB[string(oob)]; p != nil {
		return p
	}
	p := s.base
	if local := destination(oob); local.IsValid() {
		p = s.to(local)
	}
	if len(s.byOOB) < 2*maxPaths { // one address may come with several interfaces
		if s.byOOB == nil {
			s.byOOB = map[string]*path{}
		}
		s.byOOB[string(oob)] = p
	}
	return p
}

func (s *paths) to(local netip.Addr) *path {
	if p := s.byLocal[local]; p != nil {
		return p
	}
	if len(s.byLocal) >= maxPaths || local.IsMulticast() {
		return s.base
	}
	p := &path{socket: s.base.socket, local: netip.AddrPortFrom(local, s.base.local.Port()), oob: source(local)}
	if s.byLocal == nil {
		s.byLocal = map[netip.Addr]*path{}
	}
	s.byLocal[local] = p
	return p
}

// destination returns the address that a datagram came to. It is not valid if oob does not have
// one.
func destination(oob []byte) netip.Addr {
	var six ipv6.ControlMessage
	if err := six.Parse(oob); err == nil && six.Dst != nil {
		if a, ok := netip.AddrFromSlice(six.Dst); ok {
			return a.Unmap()
		}
	}
	var four ipv4.ControlMessage
	if err := four.Parse(oob); err == nil && four.Dst != nil {
		if a, ok := netip.AddrFromSlice(four.Dst); ok {
			return a.Unmap()
		}
	}
	return netip.Addr{}
}

// source returns the control message that makes the system send a datagram from local.
func source(local netip.Addr) []byte {
	if local.Is4() {
		return (&ipv4.ControlMessage{Src: local.AsSlice()}).Marshal()
	}
	return (&ipv6.ControlMessage{Src: local.AsSlice()}).Marshal()
}
