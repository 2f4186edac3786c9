//go:build !unix

package main

import (
	"os"
	"syscall"
)

// writeSignals end a process whose write fails.
var writeSignals = []os.Signal{syscall.SIGPIPE}
