package mesh

import (
	"syscall"
	"time"

	"github.com/portluck/portluck/handlers/internal/setting"
)

// tcpUserTimeout is TCP_USER_TIMEOUT.
const tcpUserTimeout = 18

// controlTimeout bounds how long what was sent may stay without an acknowledgement. Accepted
// connections inherit it. It is nil if d is never.
func controlTimeout(d time.Duration) func(network, address string, c syscall.RawConn) error {
	if d == setting.Never {
		return nil
	}
	return func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) {
			// A Unix socket does not have this option.
			_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTimeout, int(d.Milliseconds()))
		})
	}
}
