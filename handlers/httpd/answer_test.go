package httpd

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/portluck/portluck/handlers"
)

// later runs f after the callback has returned, while the answer is still open, and before the test
// ends.
func later(f func()) { go f() } // ends with f

func TestDone(t *testing.T) {
	tests := []struct {
		name     string
		explicit bool
		message  func(s handlers.Response)
		status   int
		body     string
	}{
		{"nothing", false, func(handlers.Response) {}, 200, ""},
		{"written", false, func(s handlers.Response) { s.Write([]byte("a"), handlers.Auto); s.Write([]byte("b"), handlers.Auto) }, 200, "ab"},
		{"done after a later write", false, func(s handlers.Response) {
			s.DoneAfterWrite()
			later(func() { s.Write([]byte("late"), handlers.Auto) })
		}, 200, "late"},
		{"done after a later send", false, func(s handlers.Response) {
			s.Write([]byte("soon "), handlers.Auto)
			s.DoneAfterWrite()
			later(func() { s.TrySend([]byte("late"), handlers.Auto) })
		}, 200, "soon late\n"},
		{"explicit", true, func(s handlers.Response) {
			s.Write([]byte("soon "), handlers.Auto)
			later(func() {
				s.Write([]byte("late"), handlers.Auto)
				s.End()
			})
		}, 200, "soon late"},
		{"explicit, at once", true, func(s handlers.Response) { s.Send(nil, handlers.Auto); s.Done() }, 200, "\n"},
		{"status and header", false, func(s handlers.Response) {
			s.Header().Set("X-Ours", "1")
			s.WriteHeader(202)
			s.WriteHeader(500)
		}, 202, ""},
		{"no status", false, func(s handlers.Response) {
			s.Header().Set("X-Ours", "1")
			s.WriteHeader(7)
			s.WriteHeader(100)
			s.WriteHeader(1000)
		}, 200, ""},
		{"no body", false, func(s handlers.Response) {
			s.WriteHeader(204)
			if err := s.Send([]byte("x"), handlers.Auto); !errors.Is(err, http.ErrBodyNotAllowed) {
				t.Errorf("Send() = %v, want ErrBodyNotAllowed", err)
			}
		}, 204, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var stream handlers.Response
			p := &port{message: func(_ string, s handlers.Response) error {
				stream = s
				tt.message(s)
				return nil
			}}
			addr, _ := serve(t, &Handler{ExplicitDone: tt.explicit}, p)
			w := dial(t, addr)
			w.send(post("x"))
			resp := w.expect(tt.status, tt.body)
			if strings.Contains(tt.name, "status") && resp.Header.Get("X-Ours") != "1" {
				t.Errorf("header %v", resp.Header)
			}
			if got := resp.Header.Get("Content-Type"); got != "text/plain; charset=utf-8" && tt.status != 204 {
				t.Errorf("Content-Type: %q", got)
			}
			if got := p.wait(t, 3); got[2] != "disconnect" {
				t.Errorf("events %q", got)
			}
			ended(t, stream)
			w.send(post("x")) // the connection can be used again
			w.expect(tt.status, tt.body)
		})
	}
}

// ended checks that an answer that has ended accepts nothing more, and does no harm.
func ended(t *testing.T, s handlers.Response) {
	t.Helper()
	_, write := s.Write([]byte("x"), handlers.Auto)
	for _, err := range []error{write, s.Send(nil, handlers.Auto), s.TrySend(nil, handlers.Auto), s.Done(), s.End()} {
		if !errors.Is(err, handlers.ErrClosed) {
			t.Errorf("after the end: %v, want ErrClosed", err)
		}
	}
	s.Header().Set("X-Late", "1")
	s.WriteHeader(500)
	s.DoneAfterWrite()
	s.Destroy()
}

// What the program writes is sent while its callback goes on, and so is a head without a body.
func TestSentWhileCallbackRuns(t *testing.T) {
	next := make(chan struct{})
	p := &port{message: func(_ string, s handlers.Response) error {
		s.WriteHeader(201)
		<-next
		s.Write([]byte("one"), handlers.Auto)
		<-next
		return nil
	}}
	addr, _ := serve(t, &Handler{}, p)
	w := dial(t, addr)
	w.send(post("x"))
	resp := w.head()
	if resp.StatusCode != 201 {
		t.Errorf("status %d", resp.StatusCode)
	}
	next <- struct{}{}
	got := make([]byte, 3)
	if _, err := io.ReadFull(resp.Body, got); string(got) != "one" {
		t.Errorf("read %q, %v", got, err)
	}
	next <- struct{}{}
	if rest, err := io.ReadAll(resp.Body); len(rest) > 0 || err != nil {
		t.Errorf("read %q, %v", rest, err)
	}
}

// An answer that is written in one piece has a Content-Length, and no chunks.
func TestContentLength(t *testing.T) {
	for _, n := range []int{0, 1, 2047, 2048, 2049, 60_000} {
		p := &port{message: func(_ string, s handlers.Response) error {
			s.Write(make([]byte, n), handlers.Auto)
			return s.Done()
		}}
		addr, _ := serve(t, &Handler{}, p)
		w := dial(t, addr)
		w.send(post("x"))
		if resp := w.expect(200, string(make([]byte, n))); resp.ContentLength != int64(n) {
			t.Errorf("Content-Length: %d, want %d", resp.ContentLength, n)
		}
	}
}

// Destroy closes the connection even while the callback runs. What was written before arrives, as
// in upstream, but the answer does not look complete.
func TestDestroyAtOnce(t *testing.T) {
	done := make(chan struct{})
	p := &port{message: func(_ string, s handlers.Response) error {
		s.Write([]byte("said"), handlers.Auto)
		s.Destroy()
		s.Destroy()
		<-done
		return handlers.ErrClosed
	}}
	addr, conns := serve(t, &Handler{}, p)
	w := dial(t, addr)
	w.send(post("x"))
	if b, _ := io.ReadAll(w.r); !strings.HasPrefix(string(b), "HTTP/1.1 200 OK\r\n") || !strings.HasSuffix(string(b), "\r\n4\r\nsaid\r\n") {
		t.Errorf("read %q after Destroy", b)
	}
	close(done)
	if got := p.wait(t, 3); got[2] != "disconnect" {
		t.Errorf("events %q", got)
	}
	c := <-conns
	<-c.closed
	if n := c.closes.Load(); n != 1 {
		t.Errorf("closed %d times", n)
	}
}

// A reply of any size is sent while the callback writes it, and is not kept in memory.
func TestLargeReply(t *testing.T) {
	t.Parallel()
	const lines = 2000
	line := strings.Repeat("y", 8<<10)
	p := &port{message: func(_ string, s handlers.Response) error {
		for range lines {
			if err := s.Send([]byte(line), handlers.Auto); err != nil {
				return err
			}
		}
		return nil
	}}
	addr, _ := serve(t, &Handler{}, p)
	w := dial(t, addr)
	w.send(post("x"))
	resp := w.head()
	if n, err := io.Copy(io.Discard, resp.Body); n != lines*int64(len(line)+1) || err != nil {
		t.Errorf("read %d bytes, %v", n, err)
	}
}

func TestConcurrentWriters(t *testing.T) {
	const writers, each = 8, 200
	p := &port{message: func(_ string, s handlers.Response) error {
		var wg sync.WaitGroup
		for i := range writers {
			wg.Go(func() {
				for j := range each {
					s.Send(fmt.Appendf(nil, "%d-%d", i, j), handlers.Auto)
				}
			})
		}
		wg.Wait()
		return nil
	}}
	addr, _ := serve(t, &Handler{}, p)
	w := dial(t, addr)
	w.send(post("x"))
	_, body := w.answer()
	next := [writers]int{}
	for line := range strings.Lines(body) {
		var i, j int
		if _, err := fmt.Sscanf(line, "%d-%d\n", &i, &j); err != nil || j != next[i] {
			t.Fatalf("line %q: %v", line, err)
		}
		next[i]++
	}
	for i, n := range next {
		if n != each {
			t.Errorf("%d lines of writer %d", n, i)
		}
	}
}
