package handlers

import "syscall"

// inlineUrgent sets SO_OOBINLINE. Connections inherit it from their listener.
func inlineUrgent(_, _ string, raw syscall.RawConn) error {
	return raw.Control(func(fd uintptr) {
		// The listener works without it, so an error does not matter.
		_ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_OOBINLINE, 1)
	})
}

// takeIPv4 makes an IPv6 socket accept IPv4 connections too.
func takeIPv4(_, _ string, raw syscall.RawConn) error {
	return raw.Control(func(fd uintptr) {
		_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_IPV6, syscall.IPV6_V6ONLY, 0)
	})
}
