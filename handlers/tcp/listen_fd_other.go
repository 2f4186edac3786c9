//go:build !unix

package tcp

import (
	"errors"
	"fmt"
)

// ListenFD is like Listen, on a descriptor of a socket that listens already. This system has no
// such descriptors: the error is [errors.ErrUnsupported].
func (v *Server) ListenFD(fd uintptr) error {
	return fmt.Errorf("listen on descriptor %d: %w", fd, errors.ErrUnsupported)
}
