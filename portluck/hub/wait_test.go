package hub

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/portluck/portluck/handlers"
)

// waits fails the test unless b.Wait waits until release is called and then returns.
func waits(t *testing.T, b *Binding, release func()) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := b.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Wait() = %v while something runs", err)
	}
	release()
	if err := b.Wait(t.Context()); err != nil {
		t.Errorf("Wait() = %v", err)
	}
}

// Wait returns after OnSlow, whatever goroutine has called it, and also when the hub has another
// server.
func TestWaitForOnSlow(t *testing.T) {
	for _, shared := range []bool{false, true} {
		called, release := make(chan struct{}), make(chan struct{})
		h, r := roomOf(RoomOptions{Ring: 1, Policy: SkipToLatest, OnSlow: func(*Room, *Client, uint64) {
			close(called)
			<-release
		}})
		s := &sink{}
		r.Join(s.client(h))
		b := h.binding.Load()
		if shared {
			Bind(h, nil, false)
		}
		done := make(chan struct{})
		go func() { // ends with OnSlow
			publish(r, 1, 3)
			close(done)
		}()
		<-called
		waits(t, b, func() { close(release) })
		<-done
	}
}

// OnSlow is not called for a client that has gone, however much it has missed.
func TestNoOnSlowOfWhoHasGone(t *testing.T) {
	h, r := roomOf(RoomOptions{Ring: 1, Policy: SkipToLatest, OnSlow: func(*Room, *Client, uint64) { t.Error("OnSlow is called") }})
	c := (&sink{}).client(h)
	r.Join(c)
	(*Session)(c).Disconnect(nil)
	m := &membership{client: c, group: &group{room: r}}
	if slow := appendSlow(nil, slowMember{client: m.client, missed: 1}); len(slow) > 0 {
		t.Error("it is slow")
		r.applyPolicies(slow)
	}
	if err := h.binding.Load().Wait(t.Context()); err != nil {
		t.Errorf("Wait() = %v", err)
	}
}

// An OnSlow that ends its goroutine does not affect the other members or the room.
func TestOnSlowEndsItsGoroutine(t *testing.T) {
	var mu sync.Mutex
	var told []uint64
	h, r := roomOf(RoomOptions{Ring: 1, Policy: SkipToLatest, OnSlow: func(_ *Room, c *Client, _ uint64) {
		mu.Lock()
		told = append(told, c.ID())
		mu.Unlock()
		runtime.Goexit()
	}})
	for range 3 {
		r.Join((&sink{}).client(h))
	}
	fast := &sink{room: -1}
	r.Join(fast.client(h))
	for n := 1; n <= 3; n++ {
		done := make(chan struct{})
		go func() { // ends with OnSlow
			defer close(done)
			publish(r, n, n)
		}()
		<-done
	}
	if err := h.binding.Load().Wait(t.Context()); err != nil {
		t.Errorf("Wait() = %v", err)
	}
	mu.Lock()
	defer mu.Unlock()
	slices.Sort(told)
	if got := slices.Compact(told); !slices.Equal(got, []uint64{1, 2, 3}) {
		t.Errorf("OnSlow was called for %d, want each of the first three", got)
	}
	fast.mu.Lock()
	defer fast.mu.Unlock()
	if got := fast.got.String(); got != "1\n2\n3\n" {
		t.Errorf("the fast one got %q", got)
	}
}

// slowPlane is a backplane whose Publish takes its time.
type slowPlane struct {
	handlers.Backplane
	called  chan struct{}
	release chan struct{}
}

func (*slowPlane) Subscribe(handlers.Subscriber) error { return nil }

func (p *slowPlane) Publish(string, handlers.Message) error {
	p.called <- struct{}{}
	<-p.release
	return nil
}

// Wait of the last server of a hub returns only when the backplane has every message.
func TestWaitForTheBackplane(t *testing.T) {
	h := &Hub{}
	p := &slowPlane{called: make(chan struct{}, 3), release: make(chan struct{})}
	if err := h.Carry(p); err != nil {
		t.Fatal(err)
	}
	first, last := Bind(h, nil, false), Bind(h, nil, false)
	done := make(chan struct{})
	go func() { // ends when the backplane has the first message
		h.Room("x").Publish(text("1"))
		close(done)
	}()
	<-p.called
	h.Room("x").Publish(text("2"))
	p.release <- struct{}{}
	<-done
	<-p.called // in a goroutine of the hub
	if err := first.Wait(t.Context()); err != nil {
		t.Errorf("Wait() of the first = %v", err)
	}
	waits(t, last, func() { close(p.release) })
}
