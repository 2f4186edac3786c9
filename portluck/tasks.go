package portluck

import (
	"context"
	"sync"
	"time"
)

// tasks counts goroutines. Unlike a [sync.WaitGroup] it may be waited for while others start the
// first one.
type tasks struct {
	mu   sync.Mutex
	n    int
	over uint64        // how many have ended
	none chan struct{} // closed when n is 0; nil unless somebody waits
}

// Go runs f in a goroutine that wait waits for.
func (t *tasks) Go(f func()) {
	t.mu.Lock()
	t.n++
	t.mu.Unlock()
	go func() { // ends with f; wait waits for it
		defer t.done()
		f()
	}()
}

func (t *tasks) done() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.over++
	if t.n--; t.n == 0 && t.none != nil {
		close(t.none)
		t.none = nil
	}
}

// wait waits until none is running, or ctx ends.
func (t *tasks) wait(ctx context.Context) error {
	t.mu.Lock()
	if t.n == 0 {
		t.mu.Unlock()
		return nil
	}
	if t.none == nil {
		t.none = make(chan struct{})
	}
	none := t.none
	t.mu.Unlock()
	select {
	case <-none:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// settle waits until none is running, none has ended for quiet, or ctx ends.
func (t *tasks) settle(ctx context.Context, quiet time.Duration) {
	for {
		t.mu.Lock()
		over := t.over
		t.mu.Unlock()
		round, cancel := context.WithTimeout(ctx, quiet)
		err := t.wait(round)
		cancel()
		t.mu.Lock()
		stuck := t.over == over
		t.mu.Unlock()
		if err == nil || stuck || ctx.Err() != nil {
			return
		}
	}
}
