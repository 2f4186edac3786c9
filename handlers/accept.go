package handlers

import (
	"errors"
	"net"
	"syscall"
)

// AcceptEnds reports whether err, from the Accept of a listener, is the listener's end. Of the
// system's errors those are that say that the listening socket is none any more: all others are of
// one connection, whose error Linux passes on (accept(2), "Error handling"), or pass with time. An
// error that a listener made up is its end, unless it is a [net.Error] that is temporary.
func AcceptEnds(err error) bool {
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		switch errno {
		case syscall.EBADF, syscall.EINVAL, syscall.ENOTSOCK, syscall.EFAULT, syscall.ENOSYS:
			return true
		}
		return false
	}
	ne, ok := errors.AsType[net.Error](err)
	//lint:ignore SA1019 errors of Accept are what Temporary is for, and net/http asks it too
	return !ok || !ne.Temporary()
}
