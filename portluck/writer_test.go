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
	t.Parallel()
	writers := make(chan *Writer, 1)
	hub := &Hub{OnMessage: func(_ Message, w *Writer, _ *Client) { writers <- w }}
	c := dial(t, serve(t, &Server{Hub: hub}))
	send(t, c, "hello\n")
	w := <-writers
	if err := w.Drain(t.Context()); err != nil || w.Queued() != 0 {
		t.Errorf("Drain() = %v with %d bytes queued, want nothing", err, w.Queued())
	}
	// It writes until Drain does not return, and tries several times, because the machine may be
	// busy.
	fill := func() (n int) {
		for late := 0; late < 4; {
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			err := w.Drain(ctx)
			cancel()
			if errors.Is(err, context.DeadlineExceeded) {
				late++
				continue
			}
			if err != nil {
				t.Fatalf("Drain() = %v although nobody reads", err)
			}
			late = 0
			m, err := w.Write(make([]byte, 64<<10))
			if err != nil {
				t.Fatal(err)
			}
			n += m
		}
		return n
	}
	n := fill()
	read := make(chan struct{})
	go func() {
		defer close(read)
		_, _ = io.CopyN(io.Discard, c, int64(n))
	}()
	if err := w.Drain(t.Context()); err != nil || w.Queued() != 0 {
		t.Errorf("Drain() = %v with %d bytes queued, want nothing", err, w.Queued())
	}
	<-read // a read that is still running would make room during what follows
	for {  // fill is not certain to have stopped the draining
		fill()
		done := make(chan error, 1)
		go func() { done <- w.Drain(t.Context()) }() // ends with Destroy at the latest
		select {
		case err := <-done:
			if err != nil {
				t.Fatalf("Drain() = %v although nobody reads", err)
			}
			continue
		case <-time.After(20 * time.Millisecond):
		}
		w.Destroy()
		if err := <-done; !errors.Is(err, handlers.ErrClosed) {
			t.Errorf("Drain() = %v after Destroy, want ErrClosed", err)
		}
		return
	}
}
