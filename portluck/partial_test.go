//go:build linux

package portluck

import (
	"crypto/tls"
	"fmt"
	"io"
	"math"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/portluck/portluck/handlers"
)

// A client that has sent part of a ClientHello, or part of the head of a request, costs only a
// descriptor that the port peeks at. The attack of TRAPS part 2, row 8, has 1,000 such clients.
func TestPartialOpeningsAreCheap(t *testing.T) {
	const n, most = 1000, 2 << 10
	for name, first := range map[string]string{
		"9 bytes of a ClientHello": "\x16\x03\x01\x40\x00\x01\x00\x3f\xfc",
		"a tiny first record":      "\x16\x03\x01\x00\x04\x01\x00\x10\x00",
		"a version from nowhere":   "POST / HTTP/9.9\r\n",
		"a record of nothing":      "\x16\x03\x09\x40\x00\x02\x00",
		"warnings":                 "\x16\x03\x01\x00\x01\x01\x15\x03\x01\x00\x02\x01\x5a",
		"half a ClientHello":       string(firstFlight(t)[:200]),
		"a request line":           "POST / HT",
		"fields without end":       "POST / HTTP/1.1\r\n" + strings.Repeat("X-Filler: xxxxxxxxxxxxxxxxxxxxxx\r\n", 30),
		"half a page":              "GET / HTTP/1.1\r\nHost: localhost\r\nCookie: ",
		"half a handshake":         "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: ",
	} {
		t.Run(name, func(t *testing.T) {
			s := &Server{TLSConfig: withTLS(), SniffTimeout: time.Hour, HeaderTimeout: time.Hour}
			addr := serve(t, s)
			talk(t, addr, "{}\n")
			best := int64(math.MaxInt64)
			for range 3 {
				before, goroutines := memory()
				conns := make([]net.Conn, n)
				for i := range conns {
					conns[i] = dial(t, addr)
					send(t, conns[i], first)
				}
				eventually(t, "all are sniffed", func() bool { return s.Stats().Sniffing == n })
				// a low estimate of what the clients' ends cost in this process
				mine := int64(n) * 600
				after, more := memory()
				if more -= goroutines; more > 20 {
					t.Errorf("%d goroutines", more)
				}
				best = min(best, (after-before-mine)/n)
				for _, c := range conns {
					c.Close()
				}
				eventually(t, "all are gone", func() bool { return s.Stats().Open == 0 })
				if best <= most {
					break
				}
			}
			t.Logf("%d bytes a client", best)
			if best > most && !raceEnabled {
				t.Errorf("%d bytes a client, want %d at the most", best, most)
			}
		})
	}
}

// peekedAndRead serves s on a port whose connections are peeked at, or on one whose connections are
// read.
func peekedAndRead(t *testing.T, f func(t *testing.T, serve func(t *testing.T, s *Server) (addr string))) {
	for name, wrap := range map[string]func(net.Listener) net.Listener{
		"peeked": func(l net.Listener) net.Listener { return l },
		"read":   func(l net.Listener) net.Listener { return hiding{l} },
	} {
		t.Run(name, func(t *testing.T) {
			f(t, func(t *testing.T, s *Server) string {
				l := listen(t)
				serveOn(t, s, wrap(l))
				return l.Addr().String()
			})
		})
	}
}

// A request or a ClientHello that comes in pieces is served like a whole one.
func TestOpeningsInPieces(t *testing.T) {
	peekedAndRead(t, func(t *testing.T, serve func(*testing.T, *Server) string) {
		addr := serve(t, &Server{Hub: echoHub(), TLSConfig: withTLS(), SniffTimeout: time.Minute})
		for name, tt := range map[string]struct{ send, begins, ends string }{
			"a body that comes later": {"POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 3\r\n\r\n|hi\n", "HTTP/1.1 200 ", "hi\n"},
			"pieces of a head":        {"PO|ST |/ HT|TP/1.1|\r|\nHo|st: localhost\r\nConnection: close\r\nContent-Length: 3\r\n\r|\nhi\n", "HTTP/1.1 200 ", "hi\n"},
			"two requests":            {"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\na\nPOST / HT|TP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 2\r\n\r\nb\n", "HTTP/1.1 200 ", "b\n"},
			"a bad field":             {"POST / HTTP/1.1\r\n|bad header\r\n", "HTTP/1.1 400 ", ""},
			"a bad version":           {"POST / HTTP/9.9\r\n|\r\n", "HTTP/1.1 505 ", ""},
			"HTTP/0.9":                {"GET /old\r\n|", "HTTP/1.1 400 ", ""},
			"a head of 20 KB":         {"POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n|Cookie: " + strings.Repeat("c", 20<<10) + "\r\n|Content-Length: 3\r\n\r\nhi\n", "HTTP/1.1 200 ", "hi\n"},
			"a head of 100 KB":        {"POST / HTTP/1.1\r\nHost: localhost\r\n|Cookie: " + strings.Repeat("c", 100<<10), "HTTP/1.1 431 ", ""},
			"a WebSocket handshake": {"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n|Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n" +
				"\r|\n\x88\x80\x00\x00\x00\x00", "HTTP/1.1 101 ", "\x88\x00"},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				c := dial(t, addr)
				for piece := range strings.SplitSeq(tt.send, "|") {
					_, _ = io.WriteString(c, piece) // a long one may be answered before its end
					pauseFor(time.Millisecond)
				}
				got, _ := io.ReadAll(c)
				if !strings.HasPrefix(string(got), tt.begins) || !strings.HasSuffix(joined(string(got)), tt.ends) {
					t.Errorf("read %.200q, want %q ... %q", got, tt.begins, tt.ends)
				}
			})
		}
		t.Run("TLS", func(t *testing.T) {
			t.Parallel()
			c := tls.Client(&dripping{dial(t, addr)}, &tls.Config{InsecureSkipVerify: true})
			send(t, c, "{hi}\n")
			expect(t, c, "{hi}\n")
		})
	})
}

// dripping splits its first writes into single bytes.
type dripping struct{ net.Conn }

func (d *dripping) Write(p []byte) (int, error) {
	for i := range p {
		if n, err := d.Conn.Write(p[i : i+1]); err != nil {
			return i + n, err
		}
	}
	return len(p), nil
}

// A connection whose request or ClientHello stays incomplete is closed at its deadline, HTTP with a
// 408. It never becomes a raw client or goes to another route.
func TestPartialOpeningsEnd(t *testing.T) {
	for name, tt := range map[string]struct{ first, answer string }{
		"a request line":     {"POST / HT", "HTTP/1.1 408 "},
		"fields":             {"PUT / HTTP/1.1\r\nHost: localhost\r\n", "HTTP/1.1 408 "},
		"a page":             {"GET / HTTP/1.1\r\nHost: localhost\r\n", "HTTP/1.1 408 "},
		"half a handshake":   {"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n", "HTTP/1.1 408 "},
		"half a ClientHello": {string(firstFlight(t)[:100]), ""},
		"its first bytes":    {"\x16\x03", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			peekedAndRead(t, func(t *testing.T, serve func(*testing.T, *Server) string) {
				hub, e := record(nil)
				s := &Server{Hub: hub, TLSConfig: withTLS(), SniffTimeout: sniffSoon, HeaderTimeout: sniffSoon, OnStall: handlers.HandlerFunc(func(c handlers.Conn, _ handlers.Port) {
					t.Error("it is OnStall's")
					c.Close()
				})}
				if tt.first == "\x16\x03" {
					s.OnStall = nil // it may still become something else
				}
				c := dial(t, serve(t, s))
				send(t, c, tt.first)
				if got := expectEnd(t, c); !strings.HasPrefix(got, tt.answer) || tt.answer == "" && got != "" {
					t.Errorf("read %q, want %q", got, tt.answer)
				}
				e.wantError(t, ErrStalled.Error())
				if st := s.Stats(); st.Stalled != 1 || st.Open != 0 {
					t.Errorf("%d have stalled, %d are open", st.Stalled, st.Open)
				}
			})
		})
	}
}

// A client that was announced as silent stops being a raw client once it begins another protocol,
// however slowly.
func TestAnnouncedClientsThatBeginSomethingElse(t *testing.T) {
	peekedAndRead(t, func(t *testing.T, serve func(*testing.T, *Server) string) {
		hub, e := record(echo)
		s := &Server{Hub: hub, TLSConfig: withTLS(), SniffTimeout: sniffSoon}
		c := dial(t, serve(t, s))
		e.waitFor(1)
		send(t, c, "POST / HT")
		e.want(t, "connect tcp", "disconnect tcp")
		hub.Broadcast(TextMessage("for members only"))
		send(t, c, "TP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 3\r\n\r\nhi\n")
		if got := expectEnd(t, c); !strings.HasPrefix(got, "HTTP/1.1 200 ") || !strings.HasSuffix(got, "hi\n") {
			t.Errorf("read %q", got)
		}
		e.want(t, "connect tcp", "disconnect tcp", "connect http", "message hi", "disconnect http")
	})
}

// A Unix socket holds few unread writes. Its client must not have to wait for the server.
func TestOpeningsByteByByteOnAUnixSocket(t *testing.T) {
	l := must(Listen("unix:" + t.TempDir() + "/sock"))[0]
	serveOn(t, &Server{Hub: echoHub()}, l)
	c := must(net.Dial("unix", l.Addr().String()))
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Minute))
	head := "POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nCookie: " + strings.Repeat("c", 2000) + "\r\nContent-Length: 3\r\n\r\nhi\n"
	if _, err := (&dripping{c}).Write([]byte(head)); err != nil {
		t.Fatal(err)
	}
	if got := expectEnd(t, c); !strings.HasSuffix(got, "hi\n") {
		t.Errorf("read %q", got)
	}
}

// BenchmarkDrippedHead sends a head of 16,000 bytes byte by byte, and measures the CPU time of each
// byte.
func BenchmarkDrippedHead(b *testing.B) {
	addr := serve(b, &Server{Hub: echoHub(), SniffTimeout: time.Minute})
	for _, size := range []int{1000, 4000, 16000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			head := "POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n"
			head += strings.Repeat("X-Filler: 01234567890123456789\r\n", (size-len(head))/32) + "\r\n"
			begin := cpuTime()
			for b.Loop() {
				c := dial(b, addr)
				if _, err := (&dripping{c}).Write([]byte(head)); err != nil {
					b.Fatal(err)
				}
				if got := expectEnd(b, c); !strings.HasPrefix(got, "HTTP/1.1 200 ") {
					b.Fatalf("read %q", got)
				}
				c.Close()
			}
			b.ReportMetric(float64((cpuTime()-begin).Microseconds())/float64(b.N*len(head)), "µs-CPU/byte")
		})
	}
}

// A client that agrees on HTTP by ALPN and then says nothing is closed at SniffTimeout, without an
// answer or an event.
func TestSilenceAfterALPN(t *testing.T) {
	for _, proto := range []string{"http/1.1", "h2"} {
		t.Run(proto, func(t *testing.T) {
			t.Parallel()
			hub, e := record(nil)
			s := &Server{Hub: hub, TLSConfig: withTLS(), SniffTimeout: sniffSoon, HeaderTimeout: time.Hour}
			allowHandshakes(t, s)
			c := dialTLS(t, serve(t, s), proto)
			got, err := io.ReadAll(c)
			if proto == "http/1.1" && len(got) > 0 || strings.Contains(string(got), "408") || err != nil {
				t.Errorf("read %q, %v", got, err)
			}
			if late := s.Stats(); late.Failed > 0 || len(e.all()) > 0 {
				t.Errorf("%d failed, events %q", late.Failed, e.all())
			}
		})
	}
}
