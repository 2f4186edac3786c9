//go:build !unix

package loop

import "syscall"

// pending is not known here.
func pending(syscall.Conn) bool { return false }
