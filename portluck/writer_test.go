package portluck

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/portluck/portluck/handlers"
)

// Drain waits until the client has read, or is gone.
func TestDrain(t *testing.T) {
	writers := make(chan *Writer, 1)
	hub := &Hub{OnMessage: func(_ Message, w *Writer, _ *Client) { writers <- w }}
	c := dial(t, serve(t, &Server{Hub: hub}))
	send(t, c, "hello\n")
	w := <-writers
	if err := w.Drain(t.Context()); err != nil || w.Queued() != 0 {
		t.Errorf("Drain() = %v with %d bytes queued, want nothing", err, w.Queued())
	}
	full := func() bool { // not only for the moment until it is written
		for range 20 {
			if w.Queued() == 0 {
				return false
			}
			pauseFor(time.Millisecond)
		}
		return true
	}
	fill := func() (n int) {
		for !full() {
			m, err := w.Write(make([]byte, 64<<10))
			if err != nil {
				t.Fatal(err)
			}
			n += m
		}
		return n
	}
	n := fill()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := w.Drain(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Drain() = %v although nobody reads", err)
	}
	go io.CopyN(io.Discard, c, int64(n))
	if err := w.Drain(t.Context()); err != nil || w.Queued() != 0 {
		t.Errorf("Drain() = %v with %d bytes queued, want nothing", err, w.Queued())
	}
	fill()
	time.AfterFunc(20*time.Millisecond, w.Destroy)
	if err := w.Drain(t.Context()); !errors.Is(err, handlers.ErrClosed) {
		t.Errorf("Drain() = %v after Destroy, want ErrClosed", err)
	}
}
