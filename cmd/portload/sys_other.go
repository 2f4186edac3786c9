//go:build !linux

package main

import (
	"context"
	"syscall"
	"time"
)

// control is for Linux.
func control(int) func(string, string, syscall.RawConn) error { return nil }

// cpuClock is for Linux.
func cpuClock(int) (time.Duration, bool) { return 0, false }

// descriptors returns no limit: beyond the real one, connections fail.
func descriptors() int { return 1 << 30 }

// exactTimers is for Linux.
func exactTimers() {}

// sleepExactly waits for d, or until ctx ends, as exactly as Go's timers are.
func sleepExactly(ctx context.Context, d time.Duration) { pause(ctx, d) }
