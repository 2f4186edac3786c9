//go:build !linux

package mdns

import "net"

func listen4(ifi *net.Interface) (net.PacketConn, error) {
	return net.ListenMulticastUDP("udp4", ifi, net.UDPAddrFromAddrPort(group4))
}

func listen6(ifi *net.Interface) (net.PacketConn, error) {
	return net.ListenMulticastUDP("udp6", ifi, net.UDPAddrFromAddrPort(group6))
}
