//go:build !linux

package httpd

import "syscall"

// tellsBreak reports whether awaitBreak works here. Elsewhere a Write tells that a connection is
// broken.
const tellsBreak = false

func awaitBreak(syscall.Conn) error { panic("not called") }
