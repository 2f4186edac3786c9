//go:build unix

package main

import (
	"os"
	"syscall"
)

// writeSignals end a process whose write fails: into a pipe that nobody reads, or beyond the bound
// on the size of files (ulimit -f).
var writeSignals = []os.Signal{syscall.SIGPIPE, syscall.SIGXFSZ}
