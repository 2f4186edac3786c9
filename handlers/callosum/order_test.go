package callosum

import (
	"context"
	"io"
	"net"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// For each slot the callbacks for the request, the connection and the free slot are called in this
// order, however soon clients leave and whoever closes the connection.
func TestOrder(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	seen := map[int][]string{}
	next := 0
	note := func(slot int, what string) {
		mu.Lock()
		defer mu.Unlock()
		seen[slot] = append(seen[slot], what)
	}
	h := &Handler{
		Hold: -1, LingerTimeout: time.Millisecond,
		OnSlotRequest: func(context.Context) (int, error) {
			mu.Lock()
			next++
			slot := next
			mu.Unlock()
			note(slot, "request")
			return slot, nil
		},
		OnConnection: func(ctx context.Context, c *Conn) {
			for range c.Slot() % 4 * 10 {
				runtime.Gosched() // let the goroutine that frees the slot run first
			}
			note(c.Slot(), "connection")
			switch c.Slot() % 3 {
			case 0:
				c.Close()
			case 1:
				_, _ = io.Copy(c, c)
			}
		},
		OnSlotFree: func(slot int) { note(slot, "free") },
	}
	addr := serveTCP(t, h)
	stop := make(chan struct{})
	var closer, wg sync.WaitGroup
	closer.Go(func() { // the program closes the connections that it finds
		for {
			select {
			case <-stop:
				return
			default:
				for _, c := range h.Conns() {
					if c.Slot()%5 == 0 {
						c.Close()
					}
				}
				runtime.Gosched()
			}
		}
	})
	for range 8 {
		wg.Go(func() {
			for range 100 {
				leave(t, addr)
			}
		})
	}
	wg.Wait()
	eventually(t, "all have come and gone", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return next == 800 && served(h) == 0 // a client that has left may not be accepted yet
	})
	close(stop)
	closer.Wait()
	mu.Lock()
	defer mu.Unlock()
	left := []string{"request", "free"} // the client left before it got its slot
	for slot, got := range seen {
		if want := []string{"request", "connection", "free"}; !slices.Equal(got, want) && !slices.Equal(got, left) {
			t.Errorf("slot %d: %q, want %q", slot, got, want)
		}
	}
}

// If a client leaves before OnConnection has run a line, its slot is freed when OnConnection
// returns, or after servedTime.
func TestFreeAfterConnection(t *testing.T) {
	tests := []struct {
		name  string
		leave func(h *Handler, nc net.Conn)
		took  time.Duration // in OnConnection, before it records itself
		rest  time.Duration // and after that
		want  []string
	}{
		{"the client leaves", func(_ *Handler, nc net.Conn) { nc.Close() }, 900 * time.Millisecond, 0, []string{"connection 900ms", "free 900ms"}},
		{"the program closes", func(h *Handler, _ net.Conn) { h.Conns()[0].Close() }, 900 * time.Millisecond, 0, []string{"connection 900ms", "free 900ms"}},
		{"OnConnection goes on", func(_ *Handler, nc net.Conn) { nc.Close() }, 0, time.Minute, []string{"connection 0s", "free 3s"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := newEvents()
				called := time.Now()
				ready := make(chan struct{})
				h := &Handler{
					Hold: -1,
					OnConnection: func(context.Context, *Conn) {
						close(ready)
						time.Sleep(tt.took)
						e.note("connection %v", time.Since(called))
						time.Sleep(tt.rest)
					},
				}
				h.OnSlotFree = func(int) { e.note("free %v", time.Since(called)) }
				client, server := net.Pipe()
				var wg sync.WaitGroup
				wg.Go(func() { h.serve(server, nil, nil, nil) })
				expect(t, client, "0\r\n")
				<-ready
				tt.leave(h, client)
				wg.Wait()
				client.Close()
				e.want(t, tt.want...)
			})
		})
	}
}
