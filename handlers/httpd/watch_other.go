//go:build !linux

package httpd

import "syscall"

// tellsBreak reports whether awaitBreak works here. On this system only a failed Write shows that a
// connection is broken.
const tellsBreak = false

func awaitBreak(syscall.Conn) error { panic("not called") }

func awaitInput(syscall.Conn) (int, error) { panic("not called") }
