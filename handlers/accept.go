package handlers

import (
	"errors"
	"net"
	"syscall"
)

// AcceptEnds reports whether err, returned by the Accept of a listener, means that the listener has
// ended. A system error means so only if it says that the file descriptor is not a listening socket
// any more. Every other system error belongs to one connection, as Linux passes on the errors of
// the new connection (accept(2), "Error handling"), or is temporary. An error that does not come
// from the system ends the listener unless it is a [net.Error] that is temporary.
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
