package tasks

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/portluck/portluck/testdata/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

func TestWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g Group
		if err := g.Wait(t.Context()); err != nil {
			t.Errorf("Wait() of none = %v", err)
		}
		began := time.Now()
		g.Go(func() { time.Sleep(time.Second) })
		g.Go(func() {
			time.Sleep(time.Minute)
			g.Go(func() { time.Sleep(time.Minute) })
			runtime.Goexit()
		})
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		if err := g.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Wait() = %v, want that of its ctx", err)
		}
		if err := g.Wait(t.Context()); err != nil {
			t.Errorf("Wait() = %v", err)
		}
		if got := time.Since(began); got != 2*time.Minute {
			t.Errorf("it waited for %v, want 2m", got)
		}
	})
}

// A goroutine of the group that waits does so for the others. Other waiters wait for it too.
func TestWaitOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g Group
		var inside sync.WaitGroup
		began := time.Now()
		inside.Add(2)
		for range 2 {
			g.Go(func() {
				if err := g.WaitOthers(context.Background()); err != nil {
					t.Errorf("WaitOthers() inside = %v", err)
				}
				if got := time.Since(began); got != time.Second {
					t.Errorf("it waited for %v, want 1s", got)
				}
				inside.Done()
				time.Sleep(time.Second)
			})
		}
		g.Go(func() { time.Sleep(time.Second) })
		if err := g.Wait(t.Context()); err != nil {
			t.Errorf("Wait() = %v", err)
		}
		if got := time.Since(began); got != 2*time.Second {
			t.Errorf("it waited for %v, want 2s", got)
		}
		inside.Wait()
	})
}

func TestInside(t *testing.T) {
	if Inside() {
		t.Error("the test is inside")
	}
	var deep func(n int) bool
	deep = func(n int) bool {
		if n > 0 {
			return deep(n - 1)
		}
		return Inside()
	}
	if deep(100) {
		t.Error("the test is inside, from far down")
	}
	var g Group
	g.Go(func() {
		if !Inside() || !deep(100) {
			t.Error("it is not inside")
		}
	})
	_ = g.Wait(t.Context())
}

func TestSettle(t *testing.T) {
	for _, tt := range []struct {
		name         string
		first, last  time.Duration
		quiet, ctx   time.Duration
		want         time.Duration
		wantFinished bool
	}{
		{"all end", time.Second, 2 * time.Second, 5 * time.Second, time.Hour, 2 * time.Second, true},
		{"one after the other", time.Second, 3 * time.Second, 2 * time.Second, time.Hour, 3 * time.Second, true},
		{"one is stuck", time.Second, time.Hour, 5 * time.Second, time.Hour, 10 * time.Second, false},
		{"the context ends", time.Hour, time.Hour, 2 * time.Hour, time.Minute, time.Minute, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var g Group
				g.Go(func() { time.Sleep(tt.first) })
				g.Go(func() { time.Sleep(tt.last) })
				ctx, cancel := context.WithTimeout(t.Context(), tt.ctx)
				defer cancel()
				began := time.Now()
				g.Settle(ctx, tt.quiet)
				if got := time.Since(began); got != tt.want {
					t.Errorf("Settle() took %v, want %v", got, tt.want)
				}
				if got := g.n.Load() == 0; got != tt.wantFinished {
					t.Errorf("finished: %v, want %v", got, tt.wantFinished)
				}
				_ = g.Wait(context.Background())
			})
		})
	}
}

// Wait may be called while the first goroutine is started.
func TestWaitWhileStarting(t *testing.T) {
	var g Group
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 1000 {
				g.Go(func() {})
			}
		})
		wg.Go(func() {
			for range 1000 {
				_ = g.Wait(t.Context())
			}
		})
	}
	wg.Wait()
	if err := g.Wait(t.Context()); err != nil || g.n.Load() != 0 {
		t.Errorf("Wait() = %v with %d running", err, g.n.Load())
	}
}

// A wait that is over is no error, even if its context has ended too.
func TestAwait(t *testing.T) {
	t.Parallel()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	done := make(chan struct{})
	if err := Await(ended, done); !errors.Is(err, context.Canceled) {
		t.Errorf("Await() = %v, want %v", err, context.Canceled)
	}
	close(done)
	for range 100 {
		if err := Await(ended, done); err != nil {
			t.Fatalf("Await() = %v once done is closed", err)
		}
	}
}
