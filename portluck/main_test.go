package portluck

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httputil"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/portluck/portluck/handlers/tlsd"
	"github.com/portluck/portluck/testdata/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

// serve serves s on a port of loopback until the test ends.
func serve(t testing.TB, s *Server) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serveOn(t, s, l)
	return l.Addr().String()
}

// byGoroutines makes the tests use the goroutine driver. CI runs the tests with both drivers. A
// test that sets ParkAfter always uses the epoll driver, the only one that parks.
var byGoroutines = os.Getenv("PORTLUCK_DRIVER") == "goroutines"

// serveOn serves s on l until the test ends. A second call for the same s only reads its fields, as
// the first Serve does by then.
func serveOn(t testing.TB, s *Server, l net.Listener) {
	t.Helper()
	if byGoroutines && !s.Goroutines && s.ParkAfter == 0 {
		s.Goroutines = true
	}
	if s.SniffTimeout == 0 {
		s.SniffTimeout = patience // a test that does not wait for SniffTimeout does not depend on it
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown() = %v", err)
		}
		if err := <-done; !errors.Is(err, ErrServerClosed) {
			t.Errorf("Serve() = %v, want ErrServerClosed", err)
		}
	})
}

// events records the events of the hub.
type events struct {
	mu   sync.Mutex
	cond sync.Cond
	seen []string
}

// record returns a hub that calls reply for each message, and a record of its events: "connect
// tcp", "message a", "disconnect tcp", "error ...".
func record(reply func(m Message, w *Writer)) (*Hub, *events) {
	e := &events{}
	e.cond.L = &e.mu
	return &Hub{
		OnConnect: func(_ *Writer, c *Client) { e.note("connect " + c.Scheme()) },
		OnMessage: func(m Message, w *Writer, _ *Client) {
			e.note("message " + m.String())
			if reply != nil {
				reply(m, w)
			}
		},
		OnDisconnect: func(c *Client, err error) {
			if err != nil {
				e.note(fmt.Sprintf("disconnect %s: %v", c.Scheme(), err))
				return
			}
			e.note("disconnect " + c.Scheme())
		},
		OnError: func(_ *Info, err error) { e.note("error " + err.Error()) },
	}, e
}

// echo sends each message back.
func echo(m Message, w *Writer) { _ = w.Send(m) }

func (e *events) note(s string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.seen = append(e.seen, s)
	e.cond.Broadcast()
}

func (e *events) all() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.seen)
}

// patience is how long a test waits for what must come. It is long because the machine may have
// other work.
const patience = time.Minute

// waitFor waits until there are n events, and returns all.
func (e *events) waitFor(n int) []string {
	timer := time.AfterFunc(patience, func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.cond.Broadcast()
	})
	defer timer.Stop()
	late := time.Now().Add(patience)
	e.mu.Lock()
	defer e.mu.Unlock()
	for len(e.seen) < n && time.Now().Before(late) {
		e.cond.Wait()
	}
	return slices.Clone(e.seen)
}

// want checks that these events come, and that no others follow while the server is idle.
func (e *events) want(t testing.TB, want ...string) {
	t.Helper()
	got := e.waitFor(len(want))
	if !slices.Equal(got, want) {
		t.Errorf("events\n got %q\nwant %q", got, want)
	}
}

// wantError checks that the only event is an error that contains text.
func (e *events) wantError(t testing.TB, text string) {
	t.Helper()
	got := e.waitFor(1)
	if len(got) != 1 || !strings.HasPrefix(got[0], "error ") || !strings.Contains(got[0], text) {
		t.Errorf("events = %q, want one error with %q", got, text)
	}
}

// dial connects to addr until the test ends.
func dial(t testing.TB, addr string) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	return c.(*net.TCPConn)
}

func send(t testing.TB, w io.Writer, s string) {
	t.Helper()
	if _, err := io.WriteString(w, s); err != nil {
		t.Fatalf("write %q: %v", s, err)
	}
}

// expect reads exactly want.
func expect(t testing.TB, r io.Reader, want string) {
	t.Helper()
	got := make([]byte, len(want))
	n, err := io.ReadFull(r, got)
	if err != nil || string(got) != want {
		t.Fatalf("read %q, %v, want %q", got[:n], err, want)
	}
}

// expectEnd reads to the end, which must come without an error. It joins the chunks of an HTTP
// response.
func expectEnd(t testing.TB, r io.Reader) string {
	t.Helper()
	got, err := io.ReadAll(r)
	if err != nil {
		t.Fatalf("read %q, %v, want the end", got, err)
	}
	return joined(string(got))
}

// joined returns got. If got is one HTTP response in chunks, joined makes its body one piece,
// because the time between the messages decides how many chunks a response has, and whether it has
// any.
func joined(got string) string {
	head, body, _ := strings.Cut(got, "\r\n\r\n")
	if !strings.HasPrefix(head, "HTTP/1.") || !strings.Contains(head, "\r\nTransfer-Encoding: chunked") {
		return got
	}
	rest := bufio.NewReader(strings.NewReader(body))
	whole, err := io.ReadAll(httputil.NewChunkedReader(rest))
	if end, _ := io.ReadAll(rest); err != nil || string(end) != "\r\n" {
		return got
	}
	return head + "\r\n\r\n" + string(whole)
}

// talk writes s, closes its half of the connection, and returns all that comes back.
func talk(t testing.TB, addr, s string) string {
	t.Helper()
	c := dial(t, addr)
	send(t, c, s)
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	return expectEnd(t, c)
}

// eventually waits until ok returns true.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for late := time.Now().Add(patience); !ok(); {
		if time.Now().After(late) {
			t.Fatalf("not within %v: %s", patience, what)
		}
		pauseFor(time.Millisecond)
	}
}

// unlessSilent runs f, whose clients say something at once. It runs f again if s has taken one of
// them for silent, because the machine was too busy for the SniffTimeout. The OnSilence of s closes
// such a client.
func unlessSilent(s *Server, f func() error) error {
	for {
		before := s.Stats().Routes[RouteSilent]
		if err := f(); err == nil || s.Stats().Routes[RouteSilent] == before {
			return err
		}
	}
}

// endsEmpty sends first on c and checks that the connection ends in good order without an answer.
func endsEmpty(c net.Conn, first string) error {
	defer c.Close()
	_, _ = io.WriteString(c, first) // a client that was taken for silent may be closed by now
	got, err := io.ReadAll(c)
	if err != nil || len(got) > 0 {
		return fmt.Errorf("%q: read %q, %w", first, got, err)
	}
	return nil
}

// pauseFor waits where a real socket leaves nothing else to wait for.
func pauseFor(d time.Duration) { <-time.After(d) }

var testCert = sync.OnceValue(func() tls.Certificate { return newTestCert() })

// withTLS is the configuration of a server that speaks TLS too.
func withTLS() *tls.Config { return &tls.Config{Certificates: []tls.Certificate{testCert()}} }

// dialTLS shakes hands with addr, offering the protocols.
func dialTLS(t testing.TB, addr string, protos ...string) *tls.Conn {
	t.Helper()
	c := tls.Client(dial(t, addr), &tls.Config{InsecureSkipVerify: true, NextProtos: protos, ServerName: "localhost"})
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
	return c
}

// allowHandshakes allows the handshakes of s a minute, whatever its SniffTimeout.
func allowHandshakes(t testing.TB, s *Server) {
	t.Helper()
	p := must(s.start())
	for _, r := range p.routes {
		if h, ok := r.handler.(*tlsd.Handler); ok {
			h.HandshakeTimeout = time.Minute
		}
	}
	p.loop.HandshakeTimeout = time.Minute
}

// must returns v and panics if err is not nil.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
