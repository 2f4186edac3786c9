package portluck

import (
	"bufio"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httputil"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/httpd"
	"github.com/portluck/portluck/testdata/need"
)

// counting counts how often a connection is parked.
type counting struct {
	httpd.Parker
	n *atomic.Int64
}

func (c counting) Park(hc handlers.Conn, idle *httpd.Idle) bool {
	c.n.Add(1)
	return c.Parker.Park(hc, idle)
}

// Parts of what a client sends on one connection.
var keptAlive = []string{
	"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
	postHi,
	"POST /a HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n3\r\na\nb\r\n1\r\nc\r\n0\r\n\r\n",
	"PUT /b HTTP/1.1\r\nHost: localhost\r\nContent-Length: 6\r\n\r\na\nb\r\nc",
	"HEAD /page HTTP/1.1\r\nHost: localhost\r\n\r\n",
	"OPTIONS / HTTP/1.1\r\nHost: localhost\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\nhi",
	"GET /page HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
	"POST /unread HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello",
	"POST /unread HTTP/1.1\r\nHost: localhost\r\nContent-Length: 20000\r\n\r\n" + strings.Repeat("x", 20000),
	"GET /page HTTP/1.1\r\nHost: localhost\r\nX: " + strings.Repeat("y", 5000) + "\r\n\r\n",
	"DELETE / HTTP/1.1\r\nHost: localhost\r\n\r\n",
	"\r\n", "\n", "\r\n\r\n",
}

var lastOnes = []string{
	"GET / HTTP/1.0\r\n\r\n",
	"GET /page HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi",
	"GET /hijack HTTP/1.1\r\nHost: localhost\r\n\r\nfor the hijacker",
	"GET /hijack HTTP/1.1\r\nHost: localhost\r\n\r\n" + strings.Repeat("z", 9000),
	"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" +
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n\x81\x82\x00\x00\x00\x00hi\x88\x80\x00\x00\x00\x00",
	"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" +
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n\x81\xfe\x17\x70\x00\x00\x00\x00" + strings.Repeat("w", 6000) + "\x88\x80\x00\x00\x00\x00",
	"GET / HTTP/1.1\r\n\r\n", "GET /", "no request\r\n\r\n", "GET / HTTP/1.1\r\nHost: localhost\r\nno field\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: localhost\r\nExpect: foo\r\n\r\n", "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nhi",
	"GET / HTTP/2.0\r\nHost: localhost\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "\r\n\r\n\r\n\r\n\r\n",
	"", "", "",
}

// script makes up what a client sends, in pieces.
func script(r *rand.Rand) []string {
	var parts []string
	for range 1 + r.IntN(5) {
		parts = append(parts, keptAlive[r.IntN(len(keptAlive))])
	}
	parts = append(parts, lastOnes[r.IntN(len(lastOnes))])
	all := strings.Join(parts, "")
	cuts := map[int]bool{}
	for at, i := 0, 0; i < len(parts); i++ {
		if at += len(parts[i]); r.IntN(4) > 0 {
			cuts[at] = true
		}
	}
	for range r.IntN(6) {
		cuts[r.IntN(len(all)+1)] = true
	}
	if at := r.IntN(len(all)); r.IntN(8) == 0 { // a stretch of single bytes
		for i := range 40 {
			cuts[at+i] = true
		}
	}
	var pieces []string
	from := 0
	for i := range len(all) + 1 {
		if cuts[i] && i > from {
			pieces = append(pieces, all[from:i])
			from = i
		}
	}
	return append(pieces, all[from:])
}

// twin is one of two servers that must not differ.
type twin struct {
	s    *Server
	addr string
	e    *events
}

func newTwin(t *testing.T, after time.Duration, n *atomic.Int64) *twin {
	t.Helper()
	hub, e := record(echo)
	s := &Server{Hub: hub, ParkAfter: after, TLSConfig: withTLS(), SniffTimeout: time.Minute, HeaderTimeout: time.Minute}
	s.Mount("/page", http.HandlerFunc(mirror))
	s.Mount("/unread", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "not read") }))
	s.Mount("/hijack", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		c, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n")
		early, _ := rw.Reader.Peek(rw.Reader.Buffered())
		if _, err := c.Write(early); err == nil {
			_, _ = io.Copy(c, c)
		}
	}))
	p := must(s.start())
	if p.http.Parker != nil {
		p.http.Parker = counting{p.http.Parker, n}
	}
	return &twin{s, serve(t, s), e}
}

// left returns how many clients have connected and not disconnected.
func (e *events) left() (n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, line := range e.seen {
		switch what, _, _ := strings.Cut(line, " "); what {
		case "connect":
			n++
		case "disconnect":
			n--
		}
	}
	return n
}

func (w *twin) dial(t *testing.T, secure bool) net.Conn {
	if secure {
		return dialTLS(t, w.addr, "http/1.1")
	}
	return dial(t, w.addr)
}

// play sends pieces. It returns everything that comes back, how the connection ends, and the
// events. reset reports whether the connection was reset, which happens if the server leaves bytes
// unread: the end of an answer may then be lost.
func (w *twin) play(t *testing.T, pieces []string, secure bool) (all string, reset bool) {
	c := w.dial(t, secure)
	defer c.Close()
	got := make(chan string, 1)
	go func() { // ends with c
		b, err := io.ReadAll(c)
		if reset = errors.Is(err, syscall.ECONNRESET); reset {
			err = nil
		}
		got <- unframed(string(b)) + ending(err)
	}()
	for _, piece := range pieces {
		if _, err := io.WriteString(c, piece); err != nil {
			break
		}
		// So a piece mostly arrives alone, and mostly is answered before the next one.
		pauseFor(time.Millisecond)
	}
	_ = c.(interface{ CloseWrite() error }).CloseWrite()
	all = <-got
	c.Close()
	eventually(t, "it is closed", func() bool {
		st := w.s.Stats()
		return st.Open == 0 && st.Clients == 0 && w.e.left() == 0
	})
	w.e.mu.Lock()
	defer w.e.mu.Unlock()
	told := strings.Join(w.e.seen, "\n")
	w.e.seen = nil
	return all + "\n" + told, reset
}

// differ returns the answers of a and b if they differ. It plays again if a reset may be the
// reason.
func differ(t *testing.T, a, b *twin, pieces []string, secure bool) (ofA, ofB string) {
	for range 20 {
		x, resetX := a.play(t, pieces, secure)
		y, resetY := b.play(t, pieces, secure)
		if x == y {
			return "", ""
		}
		if ofA, ofB = x, y; !resetX && !resetY {
			break
		}
	}
	return ofA, ofB
}

// unframed removes from answers what depends on the time: their date, and whether and how a body is
// split into chunks.
func unframed(answers string) string {
	const chunked = "Transfer-Encoding: chunked\r\n"
	head, body, ok := strings.Cut(answers, chunked)
	lines := slices.DeleteFunc(strings.SplitAfter(head, "\n"), func(l string) bool {
		return strings.HasPrefix(l, "Date: ") || strings.HasPrefix(l, "Content-Length: ")
	})
	head = strings.Join(lines, "")
	if !ok {
		return head
	}
	fields, body, _ := strings.Cut(body, "\r\n")
	br := bufio.NewReader(strings.NewReader(body))
	whole, err := io.ReadAll(httputil.NewChunkedReader(br))
	if err != nil {
		whole = append(whole, ending(err)...)
	}
	rest, _ := io.ReadAll(br)
	return head + fields + "\r\n" + string(whole) + unframed(strings.TrimPrefix(string(rest), "\r\n"))
}

// A server that parks a connection between any two pieces answers like one that never parks,
// whatever the client sends and in whatever pieces. Neither the client nor the program sees a
// difference.
func TestParkedLikeUnparked(t *testing.T) {
	t.Parallel()
	seed, n := uint64(1), 25
	if need.Long() {
		seed, n = uint64(time.Now().UnixNano()), 1000
	}
	t.Logf("seed %d", seed)
	var parks atomic.Int64
	t.Run("", func(t *testing.T) {
		for shard := range uint64(8) {
			t.Run("", func(t *testing.T) {
				t.Parallel()
				r := rand.New(rand.NewPCG(seed, shard))
				parking, other := newTwin(t, parksAtOnce, &parks), newTwin(t, -1, &parks)
				for range n {
					pieces, secure := script(r), r.IntN(3) == 0
					if want, got := differ(t, other, parking, pieces, secure); got != want {
						t.Errorf("TLS %t: %.2000q is answered\n%.3000q\nunparked\n%.3000q", secure, pieces, got, want)
					}
				}
			})
		}
	})
	if got := parks.Load(); got < int64(n) {
		t.Errorf("%d connections were parked, want %d at least", got, n)
	}
}
