package portluck

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
)

// Waiting while the first one starts is no race, and does not outlast its context.
func TestTasks(t *testing.T) {
	var all tasks
	var n atomic.Int64
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 500 {
				all.Go(func() { n.Add(1) })
			}
		})
		wg.Go(func() {
			for range 500 {
				if err := all.wait(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if err := all.wait(t.Context()); err != nil || n.Load() != 2000 {
		t.Errorf("wait() = %v with %d ended", err, n.Load())
	}
	stop := make(chan struct{})
	all.Go(func() { <-stop })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := all.wait(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("wait() = %v", err)
	}
	close(stop)
	if err := all.wait(t.Context()); err != nil {
		t.Error(err)
	}
}
