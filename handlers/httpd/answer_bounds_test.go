package httpd

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/portluck/portluck/handlers"
)

// A queue is full from queueMax bytes on.
func TestQueueMax(t *testing.T) {
	for n, want := range map[int]error{queueMax - 1: nil, queueMax: handlers.ErrSlow} {
		a := answering(newBook(t), 1, -1)
		a.flushing = true // somebody waits for the client
		if _, err := a.Write(make([]byte, n), handlers.Auto); err != nil {
			t.Error(err)
		}
		if err := a.TrySend(nil, handlers.Auto); !errors.Is(err, want) {
			t.Errorf("TrySend() = %v behind %d bytes, want %v", err, n, want)
		}
	}
}

// What has ended is nobody's any more.
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

// The client is told that the connection ends when its body is not read to the end, where it may be told.
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
		name := "connection" // not as net/http looks for it
		if got := strings.Join(b.header[name], ","); got != tt.want {
			t.Errorf("%s: connection: %q, want %q", tt.name, got, tt.want)
		}
		if got := strings.Join(b.take(), ", "); got != tt.told {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.told)
		}
	}
}

// A body is not allowed with some statuses; nothing at all always is.
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

// Done is told once, and an answer whose end was postponed ends with the next write.
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

// The program has IdleTimeout, to the moment, since something was last written.
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

// An idle timeout of zero, which no Handler has, is none.
func TestNoIdle(t *testing.T) {
	for _, version := range []int{1, 2} {
		b := newBook(t)
		a := answering(b, version, -1)
		a.pace.idle = 0
		a.beginRead(time.Time{})
		b.want("no bound")
	}
}
