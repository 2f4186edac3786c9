package httpd

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/portluck/portluck/handlers"
)

// A queue of queueMax bytes is full.
func TestQueueMax(t *testing.T) {
	for n, want := range map[int]error{queueMax - 1: nil, queueMax: handlers.ErrSlow} {
		a := answering(newBook(t), 1, -1)
		a.flushing = true // another goroutine waits for the client
		if _, err := a.Write(make([]byte, n), handlers.Auto); err != nil {
			t.Error(err)
		}
		if err := a.TrySend(nil, handlers.Auto); !errors.Is(err, want) {
			t.Errorf("TrySend() = %v behind %d bytes, want %v", err, n, want)
		}
	}
}

// Write and Send wait until the queue has room.
func TestWaitForRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, write := range map[string]func(a *answer) error{
			"Write": func(a *answer) error { _, err := a.Write([]byte("x"), handlers.Auto); return err },
			"Send":  func(a *answer) error { return a.Send([]byte("x"), handlers.Auto) },
		} {
			a := answering(newBook(t), 1, -1)
			a.flushing, a.out = true, make([]byte, queueMax) // another goroutine waits for the client
			began := time.Now()
			time.AfterFunc(time.Minute, func() {
				a.mu.Lock()
				defer a.mu.Unlock()
				a.out = nil
				a.cond.Broadcast()
			})
			if err := write(a); err != nil || time.Since(began) != time.Minute {
				t.Errorf("%s() = %v after %v", name, err, time.Since(began))
			}
		}
	})
}

// endTurn sends nothing while another goroutine sends.
func TestEndTurnWhileFlushing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBook(t)
		b.slow = time.Second
		a := answering(b, 1, -1)
		_, _ = a.Write([]byte("1"), handlers.Auto)
		synctest.Wait()
		a.beginTurn()
		_, _ = a.Write([]byte("2"), handlers.Auto)
		a.endTurn(false)
		if got := time.Since(b.begun); got != 0 {
			t.Errorf("the turn took %v to end", got)
		}
		time.Sleep(2 * time.Second)
		_ = a.finish(nil, true)
		b.want("the order", "duplex", "write 1", "write 2")
	})
}

// A request has the address of its client, even where net/http sees another one.
func TestRemoteAddr(t *testing.T) {
	h := &Handler{Pages: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.RemoteAddr) })}
	bubble(t, h, &port{}, func(_ *testing.T, w *wire, _ *conn) {
		w.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
		w.expect(200, "192.0.2.1:1234")
	})
}

// After an answer has ended, Destroy does nothing to it.
func TestDestroyAfterEnd(t *testing.T) {
	for _, version := range []int{1, 2} {
		b := newBook(t)
		a := answering(b, version, -1)
		if err := a.finish(nil, true); err != nil {
			t.Error(err)
		}
		a.Destroy()
		if b.want("after the end"); a.cut() {
			t.Error("it is cut")
		}
	}
}

// If the body is not read to its end, the answer says that the connection closes, where it can.
func TestLeaveBody(t *testing.T) {
	for _, tt := range []struct {
		name         string
		major, minor int
		header       string
		whole        bool
		want         string
		told         string
	}{
		{"HTTP/1.1", 1, 1, "", false, "close", "duplex, read past"},
		{"HTTP/1.1, whole", 1, 1, "", true, "", ""},
		{"HTTP/1.0", 1, 0, "", false, "", "duplex, read past"},
		{"HTTP/2", 2, 0, "", false, "", ""},
		{"it was told", 1, 1, "keep-alive", false, "", "duplex, read past"},
	} {
		b := newBook(t)
		a := answering(b, tt.major, -1)
		a.r.ProtoMinor = tt.minor
		if tt.header != "" {
			b.header.Set("Connection", tt.header)
		}
		if err := a.finish(nil, tt.whole); err != nil {
			t.Error(err)
		}
		name := "connection" // not in the canonical form of net/http
		if got := strings.Join(b.header[name], ","); got != tt.want {
			t.Errorf("%s: connection: %q, want %q", tt.name, got, tt.want)
		}
		if got := strings.Join(b.take(), ", "); got != tt.told {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.told)
		}
	}
}

// Some statuses do not allow a body. No body is always allowed.
func TestNoBody(t *testing.T) {
	for status, want := range map[int]bool{200: true, 204: false, 304: false, 404: true} {
		a := answering(newBook(t), 1, -1)
		a.beginTurn()
		a.WriteHeader(status)
		if _, err := a.Write(nil, handlers.Auto); err != nil {
			t.Errorf("%d: nothing is refused: %v", status, err)
		}
		if _, err := a.Write([]byte("x"), handlers.Auto); (err == nil) != want {
			t.Errorf("%d: Write = %v", status, err)
		}
		if err := a.Send(nil, handlers.Auto); (err == nil) != want {
			t.Errorf("%d: Send = %v", status, err)
		}
		_ = a.finish(nil, true)
	}
}

// Done ends an answer once. An answer whose end was postponed ends with the next write.
func TestDoneOnce(t *testing.T) {
	a := answering(newBook(t), 1, -1)
	a.beginTurn()
	a.DoneAfterWrite()
	if a.over() {
		t.Error("over before the write")
	}
	if _, err := a.Write([]byte("x"), handlers.Auto); err != nil || !a.over() {
		t.Errorf("Write = %v, over %t", err, a.over())
	}
	if err := a.Done(); !errors.Is(err, handlers.ErrClosed) {
		t.Errorf("Done = %v", err)
	}
	_ = a.finish(nil, true)
}

// The program has exactly IdleTimeout from its last write.
func TestAwait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBook(t)
		a := answering(b, 1, time.Minute)
		a.beginTurn()
		a.touched = time.Now()
		a.endTurn(true)
		if err := a.settle(true); !errors.Is(err, errUnanswered) || time.Since(b.begun) != time.Minute {
			t.Errorf("settle() = %v after %v", err, time.Since(b.begun))
		}
		_ = a.finish(errUnanswered, true)
		none := answering(b, 1, -1)
		go func() { // ends with the test
			time.Sleep(time.Hour)
			_ = none.Done()
		}()
		if err := none.settle(true); err != nil {
			t.Errorf("settle() = %v without a bound", err)
		}
		_ = none.finish(nil, true)
	})
}

// An idle timeout of zero, which no Handler has, means no bound.
func TestNoIdle(t *testing.T) {
	for _, version := range []int{1, 2} {
		b := newBook(t)
		a := answering(b, version, -1)
		a.pace.idle = 0
		a.beginRead(time.Time{})
		b.want("no bound")
	}
}
