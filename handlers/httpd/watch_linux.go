package httpd

import (
	"io"
	"syscall"
	"unsafe"
)

// tellsBreak reports whether awaitBreak works here.
const tellsBreak = true

// awaitBreak waits until a connection whose peer has closed its half breaks, and returns io.EOF. If
// the connection is closed or its read deadline passes first, awaitBreak returns that error.
func awaitBreak(c syscall.Conn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	if err := raw.Read(isBroken); err != nil {
		return err
	}
	return io.EOF
}

// awaitInput waits until a Read of c would return, and returns what that would be, for one byte. It
// reads nothing. If c is closed first, awaitInput returns that error.
func awaitInput(c syscall.Conn) (n int, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	failed := raw.Read(func(fd uintptr) bool {
		for {
			n, _, err = syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
			if err != syscall.EINTR {
				return err != syscall.EAGAIN
			}
		}
	})
	switch {
	case failed != nil:
		return 0, failed
	case n == 0 && err == nil:
		return 0, io.EOF
	}
	return max(n, 0), err
}

// pollFD is struct pollfd (poll(2)). POLLERR (a reset) and POLLHUP (both halves have ended) are
// always reported, without being requested.
type pollFD struct {
	fd              int32
	events, revents int16
}

func isBroken(fd uintptr) bool {
	p := pollFD{fd: int32(fd)}
	var now syscall.Timespec
	n, _, _ := syscall.RawSyscall6(syscall.SYS_PPOLL, uintptr(unsafe.Pointer(&p)), 1, uintptr(unsafe.Pointer(&now)), 0, 0, 0)
	return n == 1
}
