//go:build unix && !aix

package grace

import (
	"net"
	"syscall"
)

// HasUnread reports whether the kernel holds something unread for c or the connection below it:
// bytes, a datagram or the end of the stream. It returns false if c is nil or not a socket.
func HasUnread(c any) (yes bool) {
	for {
		if s, ok := c.(syscall.Conn); ok {
			if raw, err := s.SyscallConn(); err == nil {
				return peek(raw)
			}
		}
		switch below := c.(type) {
		case interface{ NetConn() net.Conn }:
			c = below.NetConn()
		case interface{ Current() net.Conn }: // handlers.Switch
			c = below.Current()
		default:
			return false
		}
	}
}

func peek(raw syscall.RawConn) (yes bool) {
	err := raw.Control(func(fd uintptr) {
		_, _, err := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		yes = err == nil
	})
	return yes && err == nil
}
