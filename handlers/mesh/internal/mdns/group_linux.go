package mdns

import (
	"fmt"
	"net"
	"os"
	"syscall"
)

// Socket options that package syscall does not know.
const (
	ipMulticastAll   = 49
	ipv6MulticastAll = 29
)

// listen4 opens a socket for the packets to the group that come over ifi. It is bound to the group,
// where package net would bind it to all addresses: packets to an address of this machine are for
// the system's own responder.
func listen4(ifi *net.Interface) (net.PacketConn, error) {
	return listenGroup(syscall.AF_INET, &syscall.SockaddrInet4{Port: mdnsPort, Addr: group4.Addr().As4()}, func(fd int) error {
		// Receive only from groups that this socket has joined.
		_ = syscall.SetsockoptInt(fd, syscall.IPPROTO_IP, ipMulticastAll, 0)
		mreq := &syscall.IPMreqn{Multiaddr: group4.Addr().As4(), Ifindex: int32(ifi.Index)}
		return syscall.SetsockoptIPMreqn(fd, syscall.IPPROTO_IP, syscall.IP_ADD_MEMBERSHIP, mreq)
	})
}

func listen6(ifi *net.Interface) (net.PacketConn, error) {
	at := &syscall.SockaddrInet6{Port: mdnsPort, Addr: group6.Addr().As16(), ZoneId: uint32(ifi.Index)}
	return listenGroup(syscall.AF_INET6, at, func(fd int) error {
		_ = syscall.SetsockoptInt(fd, syscall.IPPROTO_IPV6, ipv6MulticastAll, 0)
		mreq := &syscall.IPv6Mreq{Multiaddr: group6.Addr().As16(), Interface: uint32(ifi.Index)}
		return syscall.SetsockoptIPv6Mreq(fd, syscall.IPPROTO_IPV6, syscall.IPV6_JOIN_GROUP, mreq)
	})
}

func listenGroup(family int, at syscall.Sockaddr, join func(fd int) error) (net.PacketConn, error) {
	fd, err := syscall.Socket(family, syscall.SOCK_DGRAM|syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	f := os.NewFile(uintptr(fd), "mdns")
	defer f.Close() // FilePacketConn has its own
	if family == syscall.AF_INET6 {
		_ = syscall.SetsockoptInt(fd, syscall.IPPROTO_IPV6, syscall.IPV6_V6ONLY, 1)
	}
	if err := syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1); err != nil {
		return nil, os.NewSyscallError("setsockopt", err)
	}
	if err := join(fd); err != nil {
		return nil, fmt.Errorf("join the mDNS group: %w", err)
	}
	if err := syscall.Bind(fd, at); err != nil {
		return nil, fmt.Errorf("bind UDP port %d: %w", mdnsPort, err)
	}
	return net.FilePacketConn(f)
}
