//go:build !unix

package tcp

import (
	"errors"
	"fmt"
)

// ListenFD is Listen on a descriptor that is bound and listens already, where the system has those.
// Here the error is errors.ErrUnsupported.
func (v *Server) ListenFD(fd uintptr) error {
	return fmt.Errorf("listen on descriptor %d: %w", fd, errors.ErrUnsupported)
}
