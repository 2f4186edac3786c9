package handlers

import (
	"errors"
	"net"
	"syscall"
	"time"
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

// A Backoff is how long a server pauses after a call of Accept, or a similar call, has failed. Set
// it to zero when a call has succeeded. Only one goroutine at a time may use it.
type Backoff time.Duration

// Next returns the pause after one more failure: 5 ms at first, then twice the previous pause, and
// at most 1 s.
func (b *Backoff) Next() time.Duration {
	*b = min(max(2**b, Backoff(5*time.Millisecond)), Backoff(time.Second))
	return time.Duration(*b)
}

// Pause waits for d, or until done is closed. It reports whether it waited for d.
func Pause(done <-chan struct{}, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-done:
		return false
	}
}
