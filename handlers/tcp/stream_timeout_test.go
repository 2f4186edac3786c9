package tcp

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// OnTimeout does not close the stream. The time counts from the last byte, also after an OnTimeout.
func TestNodeN20Timeout(t *testing.T) {
	eachDriver(t, func(t *testing.T) {
		for timeout := time.Second; !toldOnce(t, timeout); timeout *= 2 {
		}
	})
}

// toldOnce returns false if the machine was so busy that no byte came for as long as the timeout.
func toldOnce(t *testing.T, timeout time.Duration) bool {
	t.Helper()
	server, client := newDiary(), newDiary()
	var last, told time.Time
	server.do.OnConnect = func(s *Stream) { s.SetTimeout(timeout) }
	server.do.OnData = func(s *Stream, p []byte) {
		write(t, s, string(p))
		last = time.Now()
	}
	server.do.OnTimeout = func(s *Stream) {
		told = time.Now()
		wantState(t, s, Open)
		s.Destroy()
	}
	v := &Server{Events: server.events()}
	var exchanges atomic.Int64
	client.do.OnConnect = func(s *Stream) {
		s.SetTimeout(time.Millisecond)
		s.SetTimeout(0)
		write(t, s, "hello\r\n")
	}
	client.do.OnData = func(s *Stream, p []byte) {
		text := string(p)
		if exchanges.Add(1) < 5 {
			// It fails if it comes too late.
			time.AfterFunc(timeout/8, func() { _, _ = s.Write([]byte(text)) })
		}
	}
	dial(t, client, "tcp", listen(t, v))
	server.closed(t)
	client.closed(t)
	if late := told.Sub(last); late < timeout-50*time.Millisecond {
		t.Errorf("timeout %v after the last byte, want %v", late, timeout)
	}
	if all := server.all(); all[len(all)-2] != "timeout" || all[len(all)-1] != "close false" {
		t.Errorf("%d exchanges, events %q", exchanges.Load(), all)
	}
	if slices.Contains(client.all(), "timeout") {
		t.Errorf("events %q of a stream without a timeout", client.all())
	}
	return exchanges.Load() == 5 || timeout > time.Minute
}

// OnTimeout is called again only after another byte.
func TestStreamTimeoutAgain(t *testing.T) {
	eachDriver(t, func(t *testing.T) {
		d := newDiary()
		v := &Server{Events: d.events(), OnConnection: func(s *Stream) { s.SetTimeout(50 * time.Millisecond) }}
		d.do.OnTimeout = func(s *Stream) { // keeps the connection alive
			if strings.Count(fmt.Sprint(d.all()), "timeout") < 3 {
				write(t, s, "still there?")
			}
		}
		nc := plainDial(t, listen(t, v))
		mustRead(t, nc, "still there?still there?")
		d.await(t, "third timeout", func() bool { return strings.Count(fmt.Sprint(d.all()), "timeout") == 3 })
		time.Sleep(200 * time.Millisecond)
		if got := strings.Count(fmt.Sprint(d.all()), "timeout"); got != 3 {
			t.Errorf("%d timeouts, want 3: there was no byte", got)
		}
		mustWrite(t, nc, "yes")
		d.await(t, "fourth timeout", func() bool { return strings.Count(fmt.Sprint(d.all()), "timeout") == 4 })
	})
}
