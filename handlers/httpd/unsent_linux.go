package httpd

import (
	"net"
	"syscall"
	"unsafe"
)

// unsent returns how many sent bytes the peer of nc has not acknowledged (SIOCOUTQ, tcp(7)).
func unsent(nc net.Conn) int {
	c, ok := nc.(syscall.Conn)
	if !ok {
		return 0
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return 0
	}
	var n int32
	_ = raw.Control(func(fd uintptr) {
		_, _, _ = syscall.Syscall(syscall.SYS_IOCTL, fd, syscall.TIOCOUTQ, uintptr(unsafe.Pointer(&n)))
	})
	return int(n)
}
