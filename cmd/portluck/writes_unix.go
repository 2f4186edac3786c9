//go:build unix

package main

import (
	"os"
	"syscall"
)

// writeSignals are the signals that would end a process whose write fails: SIGPIPE if the reader of
// a pipe has gone, and SIGXFSZ if a file would exceed the limit on its size (ulimit -f).
var writeSignals = []os.Signal{syscall.SIGPIPE, syscall.SIGXFSZ}
