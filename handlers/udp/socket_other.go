//go:build !linux

package udp

import (
	"errors"
	"net"
)

// errWouldBlock is the error of a write that does not wait. It never occurs here, as every write
// may wait.
var errWouldBlock = errors.New("would block")

// newBatched returns nil, as there is no system call for many datagrams.
func newBatched(*net.UDPConn, int) wire { return nil }
