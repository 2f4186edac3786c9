//go:build !race

package loop

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// maxRaw bounds what one raw system call copies: it keeps the processor from other goroutines.
const maxRaw = 64 << 10

// recv reads without waiting. It does not tell Go's scheduler of the system call: that costs more
// than such a call takes.
func recv(fd int, p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(&p[0])), uintptr(min(len(p), maxRaw)), unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	if n == maxRaw && len(p) > maxRaw {
		more, err := unix.Read(fd, p[n:]) // an error, or the end, comes again
		if err == nil {
			n += uintptr(more)
		}
	}
	return int(n), nil
}

// send writes without waiting. It tells the scheduler of a system call only if p is long.
func send(fd int, p []byte) (int, error) {
	if len(p) == 0 || len(p) > maxRaw {
		return unix.Write(fd, p)
	}
	n, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}
