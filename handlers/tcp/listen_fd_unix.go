//go:build unix

package tcp

import (
	"fmt"
	"math"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// ListenFD is like Listen, on a descriptor of a socket that listens already, such as an inherited
// one. The server owns fd unless ListenFD returns an error, which leaves fd as it was. The server
// does not remove the path of a Unix socket when it closes. On Windows the error is
// [errors.ErrUnsupported].
func (v *Server) ListenFD(fd uintptr) error {
	if fd > math.MaxInt32 { // the kernel would take its low half
		return fmt.Errorf("listen on descriptor %d: %w", fd, syscall.EBADF)
	}
	if err := v.listenFD(int(fd)); err != nil {
		return fmt.Errorf("listen on descriptor %d: %w", fd, err)
	}
	_ = syscall.Close(int(fd)) // the server has a duplicate
	return nil
}

func (v *Server) listenFD(fd int) (err error) {
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil {
		return os.NewSyscallError("fcntl", err)
	}
	switch listens, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN); {
	case err != nil:
		return os.NewSyscallError("getsockopt", err)
	case listens == 0:
		return fmt.Errorf("the socket does not listen: %w", os.ErrInvalid)
	}
	defer func() {
		if err != nil { // net.FileListener has set O_NONBLOCK, which duplicates share
			_, _ = unix.FcntlInt(uintptr(fd), unix.F_SETFL, flags)
		}
	}()
	l, err := duplicate(fd)
	if err != nil {
		return err
	}
	if err := v.ListenOn(l); err != nil {
		l.Close()
		return err
	}
	return nil
}

// duplicate returns a listener on a duplicate of fd.
func duplicate(fd int) (net.Listener, error) {
	own, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	f := os.NewFile(uintptr(own), "listener")
	defer f.Close() // net.FileListener has another
	l, err := net.FileListener(f)
	if u, ok := l.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false)
	}
	return l, err
}
