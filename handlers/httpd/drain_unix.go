//go:build linux || darwin || freebsd || netbsd || openbsd

package httpd

import (
	"net"
	"syscall"
)

// hasUnread reports whether the kernel has bytes of nc that nobody has read.
func hasUnread(nc net.Conn) bool {
	c, ok := nc.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return false
	}
	n := 0
	_ = raw.Control(func(fd uintptr) {
		n, _, _ = syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	})
	return n > 0
}
