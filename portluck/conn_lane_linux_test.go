package portluck

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"testing"
	"time"
)

// A connection whose requests are the lane's never comes to net/http, and one that is not leaves
// the lane, with all that follows.
func TestLane(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		server *Server
		inLane int
	}{"on": {&Server{ParkAfter: -1}, 1}, "off": {&Server{ParkAfter: -1, MaxInlineRequest: -1}, 0}, "too small": {&Server{ParkAfter: -1, MaxInlineRequest: 20}, 0}} {
		tt.server.Hub, _ = record(echo)
		c := dial(t, serve(t, tt.server))
		br := bufio.NewReader(c)
		for range 3 {
			if got := ask(t, c, br, postHi); got != "200 OK hi\n" {
				t.Errorf("%s: %q", name, got)
			}
			if n := parkedOf(tt.server); n != tt.inLane {
				t.Errorf("%s: %d in the lane, want %d", name, n, tt.inLane)
			}
		}
		send(t, c, postHi+"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"+postHi)
		for _, want := range []string{"200 OK hi\n", "405 Method Not Allowed Allowed methods are POST or PUT.", "200 OK hi\n"} {
			if got := answerOf(t, br); got != want {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
		}
		if n := parkedOf(tt.server); n != 0 {
			t.Errorf("%s: %d in the lane after a GET", name, n)
		}
	}
}

// A request whose answer comes later has left the lane: its client is told of as soon as it leaves,
// and the answer reaches one that stays.
func TestLaneLater(t *testing.T) {
	t.Parallel()
	writers, left := make(chan *Writer, 1), make(chan error, 1)
	s := &Server{Hub: &Hub{
		OnMessage: func(_ Message, w *Writer, _ *Client) {
			w.DoneAfterWrite()
			writers <- w
		},
		OnDisconnect: func(_ *Client, err error) { left <- err },
	}}
	addr := serve(t, s)
	c := dial(t, addr)
	br := bufio.NewReader(c)
	for range 2 {
		send(t, c, postHi)
		_, _ = (<-writers).Write([]byte("later"))
		if got := answerOf(t, br); got != "200 OK later" {
			t.Errorf("%q", got)
		}
		if err := <-left; err != nil {
			t.Errorf("disconnect: %v", err)
		}
	}
	gone := dial(t, addr)
	send(t, gone, postHi)
	<-writers
	reset(t, gone)
	select {
	case err := <-left:
		if err == nil {
			t.Error("a client that is gone has left in good order")
		}
	case <-time.After(time.Minute):
		t.Error("a client that is gone is not told of")
	}
}

// A program learns the same of a request in the lane as of one by net/http, on TCP and on a Unix
// socket.
func TestLaneInfo(t *testing.T) {
	t.Parallel()
	for _, network := range []string{"tcp", "unix"} {
		var said []string
		for _, most := range []int{-1, 0} {
			s := &Server{ParkAfter: -1, MaxInlineRequest: most, Hub: &Hub{}}
			s.Hub.OnMessage = func(_ Message, w *Writer, c *Client) {
				i, r := c.Info(), c.Request()
				local := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
				host, _, _ := net.SplitHostPort(r.RemoteAddr)
				fmt.Fprint(w, i.Protocol, i.Route, i.Remote.IsValid(), i.Local.IsValid(), i.TLS, i.Peer != nil, c.Scheme(), host, local.Network())
			}
			where := "127.0.0.1:0"
			if network == "unix" {
				where = filepath.Join(t.TempDir(), "socket")
			}
			l := must(net.Listen(network, where))
			serveOn(t, s, l)
			c := must(net.Dial(network, l.Addr().String()))
			t.Cleanup(func() { c.Close() })
			said = append(said, ask(t, c, bufio.NewReader(c), postHi))
		}
		if said[0] != said[1] {
			t.Errorf("%s: in the lane %q, by net/http %q", network, said[1], said[0])
		}
	}
}
