//go:build !unix

package main

import (
	"os"
	"syscall"
)

// writeSignals are the signals that would end a process whose write fails.
var writeSignals = []os.Signal{syscall.SIGPIPE}
