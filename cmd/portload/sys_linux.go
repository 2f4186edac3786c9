package main

import (
	"context"
	"errors"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// control lets the kernel choose the local port when it knows both addresses, so that many pairs of
// addresses share a port. It sets the receive buffer to about buffer bytes if buffer is not 0.
func control(buffer int) func(string, string, syscall.RawConn) error {
	return func(_, _ string, c syscall.RawConn) (err error) {
		failed := c.Control(func(fd uintptr) {
			// Only an optimisation: without it there are fewer ports.
			_ = unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1) //nolint:gosec // a descriptor
			if buffer > 0 {
				err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, buffer) //nolint:gosec // a descriptor
			}
		})
		return errors.Join(failed, err)
	}
}

// cpuClock returns the CPU time of all threads of a process, to the nanosecond. It returns false if
// there is no such process.
func cpuClock(pid int) (time.Duration, bool) {
	var t unix.Timespec
	clock := int32(^pid<<3 | 2) //nolint:gosec // as clock_getcpuclockid(3) does; a pid has 22 bits
	err := unix.ClockGettime(clock, &t)
	return time.Duration(t.Nano()), err == nil
}

// descriptors returns how many descriptors this process may have.
func descriptors() int {
	var r unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &r); err != nil {
		return 1 << 10
	}
	return int(min(r.Cur, 1<<30)) //nolint:gosec // bounded
}

// exactTimers makes the kernel end the waits of this thread on time, not up to 50 µs later.
func exactTimers() {
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0) // else they are only less exact
}

// coarse is the most by which a timer of Go is late: its poller counts in milliseconds.
const coarse = 2 * time.Millisecond

// sleepExactly waits for d, or less when a signal comes. When ctx ends, it returns within a few
// milliseconds.
func sleepExactly(ctx context.Context, d time.Duration) {
	end := time.Now().Add(d)
	if d > coarse {
		pause(ctx, d-coarse)
	}
	if ctx.Err() != nil {
		return
	}
	t := unix.NsecToTimespec(int64(max(time.Until(end), 0)))
	_ = unix.Nanosleep(&t, nil) // fails on a signal
}
