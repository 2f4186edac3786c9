// Package tasks runs goroutines for an owner that waits for them.
package tasks

import (
	"context"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A Group is the set of goroutines of one owner. Unlike a [sync.WaitGroup], a goroutine may wait
// for it while others start its first one, and one of its own goroutines may wait for it. The zero
// value is ready to use. Any goroutine may call its methods.
type Group struct {
	n       atomic.Int64  // running
	over    atomic.Uint64 // how many have ended
	waiters atomic.Int64

	mu   sync.Mutex
	own  int64         // goroutines of groups that are in WaitOthers
	none chan struct{} // closed when none is running; nil if nobody waits for that
	rest chan struct{} // closed when all that run are in WaitOthers; nil if nobody waits for that
}

// Go runs f in a goroutine that Wait waits for. f may end it.
func (g *Group) Go(f func()) {
	g.Add()
	go g.run(f) // ends with f; Wait waits for it
}

// run is the first function on the stack of each goroutine of a group: [Inside] looks for it.
func (g *Group) run(f func()) {
	defer g.Done()
	f()
}

// Add counts one more task, which Done ends.
func (g *Group) Add() { g.n.Add(1) }

// Done ends a task that Add or Go has counted.
func (g *Group) Done() {
	g.over.Add(1)
	g.n.Add(-1)
	if g.waiters.Load() == 0 {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.lookLocked()
}

// lookLocked ends the waits whose condition is met.
func (g *Group) lookLocked() {
	n := g.n.Load()
	if n <= 0 && g.none != nil {
		close(g.none)
		g.none = nil
	}
	if n <= g.own && g.rest != nil {
		close(g.rest)
		g.rest = nil
	}
}

// Wait waits until no goroutine is running. If ctx ends first, it returns the error of ctx.
func (g *Group) Wait(ctx context.Context) error { return g.wait(ctx, &g.none) }

// WaitOthers is like Wait, for use in a callback: it does not wait for goroutines that are
// themselves in WaitOthers.
func (g *Group) WaitOthers(ctx context.Context) error {
	if Inside() {
		g.change(1)
		defer g.change(-1)
	}
	return g.wait(ctx, &g.rest)
}

func (g *Group) change(own int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.own += own
}

// wait waits until lookLocked closes *ended. All waiters for one condition share that channel.
func (g *Group) wait(ctx context.Context, ended *chan struct{}) error {
	g.waiters.Add(1) // before it looks: see Done
	defer g.waiters.Add(-1)
	g.mu.Lock()
	if *ended == nil {
		*ended = make(chan struct{})
	}
	done := *ended
	g.lookLocked()
	g.mu.Unlock()
	return Await(ctx, done)
}

// Await waits until done is closed. If ctx ends first, it returns the error of ctx. If both have
// ended it returns nil.
func Await(ctx context.Context, done <-chan struct{}) error {
	select {
	case <-done:
		return nil
	default:
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Settle waits until no goroutine is running, none has ended for the duration quiet, or ctx ends.
func (g *Group) Settle(ctx context.Context, quiet time.Duration) {
	for {
		over := g.over.Load()
		round, cancel := context.WithTimeout(ctx, quiet)
		err := g.Wait(round)
		cancel()
		if err == nil || g.over.Load() == over || ctx.Err() != nil {
			return
		}
	}
}

// Inside reports whether it is called in a goroutine that some Group started. If so the caller is a
// callback, which must not wait for itself. Inside looks for run on the stack: a callback may call
// Shutdown with any context, so none can carry a token. Labels of package runtime/pprof would also
// mark goroutines that a callback starts, which are not inside.
func Inside() bool {
	pcs := make([]uintptr, 32)
	for skip := 1; ; skip += len(pcs) {
		n := runtime.Callers(skip, pcs)
		if n == 0 {
			return false
		}
		frames := runtime.CallersFrames(pcs[:n])
		for more := true; more; {
			var f runtime.Frame
			f, more = frames.Next()
			if strings.HasSuffix(f.Function, "internal/tasks.(*Group).run") {
				return true
			}
		}
	}
}
