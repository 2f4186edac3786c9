package httpd

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// watchedConn counts the Reads with which net/http watches the client, and the deadlines that are
// set.
type watchedConn struct {
	net.Conn
	watched, deadlines atomic.Int64
}

func (c *watchedConn) SetReadDeadline(t time.Time) error {
	c.deadlines.Add(1)
	return c.Conn.SetReadDeadline(t)
}

func (c *watchedConn) Read(p []byte) (int, error) {
	if len(p) == 1 {
		c.watched.Add(1)
	}
	return c.Conn.Read(p)
}

// The client of a request that is served at once is not watched. The client of a slow one is, and
// when its connection breaks, the request's context is done.
func TestOnlySlowRequestsAreWatched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		c := &watchedConn{Conn: ours}
		slow := make(chan error, 1)
		h := &Handler{Pages: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/pause":
				time.Sleep(time.Second)
			case "/left":
				<-r.Context().Done()
				slow <- r.Context().Err()
			}
		})}
		h.Serve(newConn(c), &port{quiet: true})
		in := bufio.NewReader(theirs)
		ask := func(path string) {
			io.WriteString(theirs, "GET "+path+" HTTP/1.1\r\nHost: localhost\r\n\r\n")
			resp, err := http.ReadResponse(in, nil)
			if err != nil {
				t.Fatal(err)
			}
			io.Copy(io.Discard, resp.Body)
		}
		const n = 100
		for range n {
			ask("/")
		}
		if got := c.deadlines.Load(); got > 2*n {
			t.Errorf("%d deadlines were set for %d requests", got, n)
		}
		if got := c.watched.Load(); got != 0 {
			t.Errorf("the client was watched %d times while it was answered at once", got)
		}
		ask("/pause")
		if got := c.watched.Load(); got != 1 {
			t.Errorf("the client was watched %d times during a request of a second, want once", got)
		}
		io.WriteString(theirs, "GET /left HTTP/1.1\r\nHost: localhost\r\n\r\n")
		ours.Close()
		if err := <-slow; err == nil {
			t.Error("the context of a client whose connection broke is not done")
		}
		h.Close()
	})
}
