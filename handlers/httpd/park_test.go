package httpd

import (
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// readSizes tells of each Read, and of the deadlines that were set before it.
type readSizes struct {
	net.Conn
	deadlines atomic.Int32
	idle      atomic.Bool
	seen      chan [2]int
}

func (c *readSizes) SetReadDeadline(t time.Time) error {
	c.deadlines.Add(1)
	return c.Conn.SetReadDeadline(t)
}

func (c *readSizes) Read(p []byte) (int, error) {
	if c.idle.Load() {
		c.seen <- [2]int{len(p), int(c.deadlines.Load())}
	}
	return c.Conn.Read(p)
}

// Parking relies on what net/http does between two requests: it sets one deadline, and reads into a
// buffer of 4,096 bytes, of which what it has read of the next request takes a part. If this test
// fails with another version of Go, netHTTPBuffer, waitLeft and readHead have to follow it.
func TestNetHTTPWaits(t *testing.T) {
	for _, next := range []string{"", "G", "GE", "GET"} {
		synctest.Test(t, func(t *testing.T) {
			ours, theirs := net.Pipe()
			nc := &readSizes{Conn: ours, seen: make(chan [2]int, 9)}
			srv := &http.Server{
				Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), IdleTimeout: time.Minute, ReadHeaderTimeout: time.Minute,
				ConnState: func(_ net.Conn, s http.ConnState) {
					if s == http.StateIdle {
						nc.deadlines.Store(0)
						nc.idle.Store(true)
					}
				},
			}
			_ = srv.Serve(&single{nc: nc})
			go func() { // ends with the pipe
				_, _ = io.WriteString(theirs, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"+next)
			}()
			go func() { _, _ = io.Copy(io.Discard, theirs) }() // ends with the pipe
			want := [2]int{netHTTPBuffer - len(next), 1}
			if got := <-nc.seen; got != want {
				t.Errorf("behind %q: a Read of %d bytes after %d deadlines, want %v", next, got[0], got[1], want)
			}
			theirs.Close()
			synctest.Wait()
		})
	}
}

// Empty lines before the next request are what they are to net/http.
func TestIdleNext(t *testing.T) {
	const request = "GET / HTTP/1.1\r\n"
	for _, tt := range []struct {
		posted bool
		in     string
		want   string // what the next request begins with; "-" if it has not begun
	}{
		{false, "", "-"},
		{false, request, request},
		{false, "G", "G"},
		{false, "\r", "-"},
		{false, "\r\n\r", "-"},
		{false, "\r\n\r\n", "\r\n\r\n"},
		{false, "\nG", "\nG"},
		{false, "\r\n" + request, "\r\n" + request},
		{false, "\r\n\r\n\r\n" + request, "\r\n\r\n\r\n" + request},
		{true, "", "-"},
		{true, "G", "G"},
		{true, "\r\n\r\n", "-"},
		{true, "\r\n" + request, request},
		{true, "\r\n\r\n" + request, request},
		{true, "\r\n\r\n\r\n" + request, "\r\n" + request},
		{true, "\r\n\r\n\r", "\r"},
	} {
		for cut := range len(tt.in) + 1 {
			i := &Idle{posted: tt.posted}
			got, begun := i.Next([]byte(tt.in[:cut]))
			if rest := tt.in[cut:]; begun {
				got = append(got, rest...)
			} else if rest != "" {
				got, begun = i.Next([]byte(rest))
			}
			if text := string(got); !begun {
				got = []byte("-" + text)
			}
			if string(got) != tt.want {
				t.Errorf("posted %t: Next(%q, cut at %d) = %q, want %q", tt.posted, tt.in, cut, got, tt.want)
			}
		}
	}
}

// A connection is parked for an eighth of IdleTimeout at most, which begins again then.
func TestParkAfter(t *testing.T) {
	for _, tt := range []struct{ after, idle, want time.Duration }{
		{0, 0, time.Second},
		{-1, 0, 0},
		{time.Minute, 0, 15 * time.Second},
		{time.Minute, -1, time.Minute},
		{0, 4 * time.Second, 500 * time.Millisecond},
		{time.Millisecond, 4 * time.Second, time.Millisecond},
	} {
		h := &Handler{ParkAfter: tt.after, IdleTimeout: tt.idle}
		if got := h.parkAfter(); got != tt.want {
			t.Errorf("ParkAfter %v, IdleTimeout %v: %v, want %v", tt.after, tt.idle, got, tt.want)
		}
	}
}
