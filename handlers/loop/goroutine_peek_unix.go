//go:build unix

package loop

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// pending reports whether the kernel holds bytes, or FIN, that were not read. A Read whose deadline has passed before it
// begins does not look: on a busy machine that is no sign of silence.
func pending(c syscall.Conn) (yes bool) {
	raw, err := c.SyscallConn()
	if err != nil {
		return false
	}
	err = raw.Control(func(fd uintptr) {
		_, _, err := unix.Recvfrom(int(fd), make([]byte, 1), unix.MSG_PEEK|unix.MSG_DONTWAIT)
		yes = err == nil
	})
	return yes && err == nil
}
