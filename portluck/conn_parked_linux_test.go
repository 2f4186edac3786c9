package portluck

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/portluck/portluck/handlers/loop"
)

// parksAtOnce is a ParkAfter that lets no idle connection stay with net/http.
const parksAtOnce = 1

// waitParked waits until n connections of s are parked.
func waitParked(t testing.TB, s *Server, n int) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d connections are parked", n), func() bool { return parkedOf(s) == n })
}

// parkedOf returns how many connections of s are parked.
func parkedOf(s *Server) int { return must(s.start()).http.Parked() }

// ask sends a request and returns the status and the body of its answer.
func ask(t testing.TB, c net.Conn, br *bufio.Reader, raw string) string {
	t.Helper()
	send(t, c, raw)
	return answerOf(t, br)
}

func answerOf(t testing.TB, br *bufio.Reader) string {
	t.Helper()
	resp, err := http.ReadResponse(br, nil)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.Status + " " + string(b)
}

const postHi = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nhi"

// allWays returns a connection for each way on which connections reach net/http.
func allWays(t *testing.T, s *Server, addr string) map[string]net.Conn {
	t.Helper()
	hidden := listen(t)
	go func() { _ = s.Serve(hiding{hidden}) }() // ends with the server
	return map[string]net.Conn{
		"plain": dial(t, addr), "TLS": dialTLS(t, addr), "ALPN": dialTLS(t, addr, "http/1.1"), "read": dial(t, hidden.Addr().String()),
	}
}

// An idle connection is parked, whatever way it came, and each request takes it out again and is
// answered.
func TestParked(t *testing.T) {
	t.Parallel()
	hub, e := record(echo)
	s := &Server{Hub: hub, ParkAfter: parksAtOnce, TLSConfig: withTLS()}
	addr := serve(t, s)
	all := allWays(t, s, addr)
	n, open := 0, len(all)
	for name, c := range all {
		br := bufio.NewReader(c)
		for range 3 {
			if got := ask(t, c, br, postHi); got != "200 OK hi\n" {
				t.Errorf("%s: %q", name, got)
			}
			n += 3
			waitParked(t, s, 1)
			if st := s.Stats(); st.Open != open || st.Clients != 0 {
				t.Errorf("%s: %d open, %d clients, want %d, 0", name, st.Open, st.Clients, open)
			}
		}
		c.Close()
		waitParked(t, s, 0)
		open--
		eventually(t, "it is closed", func() bool { return s.Stats().Open == open })
	}
	if got := e.all(); len(got) != n {
		t.Errorf("%d events, want %d: %q", len(got), n, got)
	}
}

// A request has the same Info and context values before and after its connection was parked.
func TestParkedInfo(t *testing.T) {
	t.Parallel()
	s := &Server{ParkAfter: parksAtOnce, TLSConfig: withTLS()}
	s.Mount("/", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.RemoteAddr, r.TLS != nil && r.TLS.HandshakeComplete, r.Context().Value(http.LocalAddrContextKey))
	}))
	hub, _ := record(nil)
	hub.OnMessage = func(_ Message, w *Writer, c *Client) {
		i := c.Info()
		fmt.Fprint(w, i.Local, i.Remote, i.Route, i.TLS != nil, c.Scheme())
	}
	ofHub := &Server{Hub: hub, ParkAfter: parksAtOnce, TLSConfig: withTLS()}
	for kind, s := range map[string]*Server{"mounted": s, "hub": ofHub} {
		for name, c := range allWays(t, s, serve(t, s)) {
			br := bufio.NewReader(c)
			first := ask(t, c, br, postHi)
			waitParked(t, s, 1)
			if got := ask(t, c, br, postHi); got != first {
				t.Errorf("%s, %s: %q, before it was parked %q", kind, name, got, first)
			}
			c.Close()
			waitParked(t, s, 0)
		}
	}
}

// A connection that the loop cannot have as a descriptor stays with net/http. With a negative
// ParkAfter every connection does.
func TestNotParked(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]*Server{"never": {ParkAfter: -1, MaxInlineRequest: -1}, "goroutines": {ParkAfter: parksAtOnce, Goroutines: true}} {
		s.Hub, _ = record(echo)
		c := dial(t, serve(t, s))
		br := bufio.NewReader(c)
		for range 3 {
			ask(t, c, br, postHi)
			if n := parkedOf(s); n != 0 {
				t.Errorf("%s: %d parked", name, n)
			}
		}
	}
}

// A connection to which the loop gives a goroutine, because it has no epoll set, also comes back.
func TestParkedInAGoroutine(t *testing.T) {
	t.Parallel()
	hub, _ := record(echo)
	s := &Server{Hub: hub, ParkAfter: parksAtOnce, TLSConfig: withTLS()}
	must(s.start()).loop.Driver = loop.Goroutines
	addr := serve(t, s)
	for name, c := range map[string]net.Conn{"plain": dial(t, addr), "TLS": dialTLS(t, addr), "ALPN": dialTLS(t, addr, "http/1.1")} {
		br := bufio.NewReader(c)
		for range 3 {
			if got := ask(t, c, br, postHi); got != "200 OK hi\n" {
				t.Errorf("%s: %q", name, got)
			}
			waitParked(t, s, 1)
		}
		c.Close()
		waitParked(t, s, 0)
	}
	eventually(t, "all are closed", func() bool { return s.Stats().Open == 0 })
}

// A client that sends its request in single bytes after it was parked is served.
func TestParkedEveryByte(t *testing.T) {
	t.Parallel()
	hub, _ := record(echo)
	s := &Server{Hub: hub, ParkAfter: parksAtOnce}
	addr := serve(t, s)
	for cut := range len(postHi) + 1 {
		c := dial(t, addr)
		br := bufio.NewReader(c)
		ask(t, c, br, postHi)
		waitParked(t, s, 1)
		send(t, c, postHi[:cut])
		if cut > 0 && cut < len(postHi) { // with more bytes it may already be parked again
			waitParked(t, s, 0)
		}
		if got := ask(t, c, br, postHi[cut:]); got != "200 OK hi\n" {
			t.Errorf("cut at %d: %q", cut, got)
		}
		c.Close()
		eventually(t, "it is closed", func() bool { return s.Stats().Open == 0 })
	}
}

// A parked connection is closed after Timeout, with close_notify over TLS.
func TestParkedTimeout(t *testing.T) {
	t.Parallel()
	const timeout = 200 * time.Millisecond
	hub, _ := record(echo)
	s := &Server{Hub: hub, ParkAfter: parksAtOnce, Timeout: timeout, TLSConfig: withTLS()}
	for name, c := range allWays(t, s, serve(t, s)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			br := bufio.NewReader(c)
			begin := time.Now() // taken before the answer, since this goroutine may be late
			ask(t, c, br, postHi)
			if b, err := io.ReadAll(br); len(b) > 0 || err != nil {
				t.Errorf("reads %q, %v, want io.EOF", b, err)
			}
			if d := time.Since(begin); d < timeout/2 {
				t.Errorf("closed after %v, want %v", d, timeout)
			}
		})
	}
}

// A head that begins on a parked connection is bounded by HeaderTimeout and answered with 408.
func TestParkedHeaderTimeout(t *testing.T) {
	t.Parallel()
	hub, e := record(echo)
	s := &Server{Hub: hub, ParkAfter: parksAtOnce, HeaderTimeout: 100 * time.Millisecond}
	c := dial(t, serve(t, s))
	br := bufio.NewReader(c)
	ask(t, c, br, postHi)
	waitParked(t, s, 1)
	if got := ask(t, c, br, "POST /"); !strings.HasPrefix(got, "408 ") {
		t.Errorf("answer %q, want 408", got)
	}
	if got := e.waitFor(4)[3]; got != "error "+ErrStalled.Error() {
		t.Errorf("event %q, want %v", got, ErrStalled)
	}
}
