package main

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// control lets the kernel choose the port when it knows both addresses: one port serves for many
// pairs.
func control(_, _ string, c syscall.RawConn) error {
	return c.Control(func(fd uintptr) {
		// Only an optimisation: without it there are fewer ports.
		_ = unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1) //nolint:gosec // a descriptor
	})
}

// descriptors is how many this process may have.
func descriptors() int {
	var r unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &r); err != nil {
		return 1 << 10
	}
	return int(min(r.Cur, 1<<30)) //nolint:gosec // bounded
}
