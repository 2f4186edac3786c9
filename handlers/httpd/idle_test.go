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

// bubble runs test on a connection in memory, in a bubble with synthetic time.
func bubble(t *testing.T, h *Handler, p *port, test func(t *testing.T, w *wire, c *conn)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w, c := pipe(t, h, p)
		test(t, w, c)
		w.Close()
		h.Close()
	})
}

// A silent client is disconnected at its bound, and not before: slowloris, TRAPS part 2, row 6.
func TestSilentClient(t *testing.T) {
	tests := []struct {
		name, send string
		bound      time.Duration
		pages      bool
		end        string // the last event
	}{
		{"in the head", "POST / HTTP/1.1\r\nHost:", DefaultHeaderTimeout, false, ""},
		{"in a body", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nfour", DefaultIdleTimeout, false, "disconnect: idle timeout"},
		{"in a refused body", "DELETE / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nfour", DefaultIdleTimeout, false, ""},
		{"in a body of another expectation", "PUT / HTTP/1.1\r\nHost: x\r\nExpect: x\r\nContent-Length: 9\r\n\r\nfour", DefaultIdleTimeout, false, ""},
		{"in a page's body", "PATCH / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nfour", DefaultIdleTimeout, true, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h, p := &Handler{}, &port{}
			if tt.pages {
				h.Pages = http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) })
			}
			bubble(t, h, p, func(t *testing.T, w *wire, c *conn) {
				go io.Copy(io.Discard, w.r) // ends when the connection is closed
				w.send(tt.send)
				time.Sleep(tt.bound - time.Second)
				synctest.Wait()
				if c.closes.Load() != 0 {
					t.Error("closed early")
				}
				time.Sleep(2 * time.Second)
				synctest.Wait()
				if c.closes.Load() != 1 {
					t.Errorf("open after %v", tt.bound)
				}
				if got := p.events(); tt.end != "" && (len(got) == 0 || got[len(got)-1] != tt.end) {
					t.Errorf("events %q", got)
				}
			})
		})
	}
}

// A keep-alive connection that is idle for too long is closed.
func TestIdleConnection(t *testing.T) {
	bubble(t, &Handler{IdleTimeout: time.Minute}, &port{message: echo}, func(t *testing.T, w *wire, c *conn) {
		for range 3 {
			w.send(post("x"))
			w.expect(200, "x\n")
			time.Sleep(59 * time.Second)
		}
		synctest.Wait()
		if c.closes.Load() != 0 {
			t.Error("closed early")
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if c.closes.Load() != 1 {
			t.Error("open after IdleTimeout")
		}
	})
}

// A client that sends a line now and then is not idle, and neither is one that reads what the
// program sends.
func TestBusyClient(t *testing.T) {
	bubble(t, &Handler{}, &port{message: echo}, func(t *testing.T, w *wire, _ *conn) {
		w.send(chunked + chunk("x\n"))
		resp := w.head()
		b := make([]byte, 2)
		for range 5 {
			if _, err := io.ReadFull(resp.Body, b); err != nil {
				t.Fatal(err)
			}
			time.Sleep(100 * time.Second)
			w.send(chunk("x\n"))
		}
	})
	var stream handlers.Response
	p := &port{message: func(_ string, s handlers.Response) error { stream = s; return nil }}
	bubble(t, &Handler{}, p, func(t *testing.T, w *wire, _ *conn) {
		w.send(chunked + chunk("x\n"))
		synctest.Wait()
		go io.Copy(io.Discard, w.r) // ends with the connection
		for range 5 {
			if err := stream.Send([]byte("still there?"), handlers.Auto); err != nil {
				t.Fatal(err)
			}
			time.Sleep(100 * time.Second)
		}
	})
}

// A callback may take longer than the client's idle timeout.
func TestSlowCallback(t *testing.T) {
	p := &port{message: func(msg string, s handlers.Response) error {
		time.Sleep(time.Hour)
		return echo(msg, s)
	}}
	bubble(t, &Handler{}, p, func(t *testing.T, w *wire, _ *conn) {
		w.send(chunked)
		go io.WriteString(w, chunk("x\n")+chunk("y\n")+"0\r\n\r\n") // ends when it is read
		w.expect(200, "x\ny\n")
	})
}

// The program must call Done within IdleTimeout.
func TestNeverDone(t *testing.T) {
	p := &port{}
	bubble(t, &Handler{ExplicitDone: true}, p, func(t *testing.T, w *wire, _ *conn) {
		w.send(post("x"))
		if resp, _ := w.answer(); resp.StatusCode != 503 {
			t.Errorf("status %d", resp.StatusCode)
		}
		if got := p.events(); len(got) != 3 || got[2] != "disconnect: "+errUnanswered.Error() {
			t.Errorf("events %q", got)
		}
		if !errors.Is(errUnanswered, handlers.ErrTimeout) {
			t.Error("it is no timeout")
		}
	})
}

// A client that does not read is disconnected. TrySend never waits for it.
func TestSlowReader(t *testing.T) {
	for name, big := range map[string]bool{"while the program writes": false, "at the end": true} {
		t.Run(name, func(t *testing.T) {
			var full error
			p := &port{message: func(_ string, s handlers.Response) error {
				part := make([]byte, 64<<10)
				for range 20 {
					if full = s.TrySend(part, handlers.Auto); full != nil {
						break
					}
				}
				if big {
					return nil
				}
				for s.Send(part, handlers.Auto) == nil { // ends with ErrClosed, at IdleTimeout
				}
				return nil
			}}
			bubble(t, &Handler{}, p, func(t *testing.T, w *wire, c *conn) {
				w.send(post("x"))
				time.Sleep(DefaultIdleTimeout + time.Second)
				synctest.Wait()
				if !errors.Is(full, handlers.ErrSlow) {
					t.Errorf("TrySend() = %v, want ErrSlow", full)
				}
				if c.closes.Load() != 1 {
					t.Error("open after IdleTimeout")
				}
				if got := p.events(); len(got) != 3 || got[2] != "disconnect: "+handlers.ErrSlow.Error() {
					t.Errorf("events %q", got)
				}
			})
		})
	}
}

// A client that does not read a page, or a refusal, is disconnected too.
func TestSlowReaderOfPage(t *testing.T) {
	pages := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		io.Copy(w, strings.NewReader(strings.Repeat("x", 1<<20)))
	})
	for name, h := range map[string]*Handler{"page": {Pages: pages}, "405": {}} {
		t.Run(name, func(t *testing.T) {
			bubble(t, h, &port{}, func(t *testing.T, w *wire, c *conn) {
				w.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
				time.Sleep(DefaultIdleTimeout + time.Second)
				synctest.Wait()
				if c.closes.Load() != 1 {
					t.Error("open after IdleTimeout")
				}
			})
		})
	}
}

// A negative timeout means no bound.
func TestNoTimeout(t *testing.T) {
	h := &Handler{IdleTimeout: -1, HeaderTimeout: -1, MessageTimeout: -1}
	bubble(t, h, &port{message: echo}, func(t *testing.T, w *wire, _ *conn) {
		for _, part := range []string{"POST / HTTP/1.1\r\nHost", ": x\r\nContent-Length: 2\r\n\r\na", "b"} {
			time.Sleep(24 * time.Hour)
			w.send(part)
		}
		w.expect(200, "ab\n")
		time.Sleep(24 * time.Hour)
		w.send(post("x"))
		w.expect(200, "x\n")
	})
}
