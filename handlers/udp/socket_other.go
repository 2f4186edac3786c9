//go:build !linux

package udp

import (
	"errors"
	"net"
)

// errWouldBlock is what a write that does not wait returns when the system takes no more: here
// every write may wait.
var errWouldBlock = errors.New("would block")

// newBatched is nil: there is no system call for many datagrams.
func newBatched(*net.UDPConn, int) wire { return nil }
