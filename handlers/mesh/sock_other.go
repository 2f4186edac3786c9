//go:build !linux

package mesh

import (
	"syscall"
	"time"
)

// controlTimeout does nothing here: WriteTimeout and keep-alives notice a peer that is gone.
func controlTimeout(time.Duration) func(network, address string, c syscall.RawConn) error { return nil }
