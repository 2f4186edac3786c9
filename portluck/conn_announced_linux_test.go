package portluck

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/matchers"
)

// lateness is a server whose clients say nothing until they are announced, and one of them.
type lateness struct {
	net.Conn // the client's
	s        *Server
	e        *events
	verdicts chan string
}

func late(t *testing.T, s *Server, serve func(*testing.T, *Server) string) lateness {
	t.Helper()
	l := lateness{s: s, verdicts: make(chan string, 9)}
	s.Hub, l.e = record(echo)
	s.TLSConfig, s.SniffTimeout = withTLS(), 30*time.Millisecond
	s.OnVerdict = func(v Verdict) { l.verdicts <- v.Route + " " + string(v.First[:min(2, len(v.First))]) }
	allowHandshakes(t, s)
	l.Conn = dial(t, serve(t, s))
	l.e.want(t, "connect tcp")
	return l
}

// tells makes s serve connections that begin with word by telling what they begin with.
func tells(s *Server, word string) {
	s.HandleFunc("own", matchers.Prefix(word), func(c net.Conn) {
		got := make([]byte, len(word)+1)
		_, _ = io.ReadFull(c, got)
		_, _ = fmt.Fprintf(c, "own %s", got)
	})
}

// A client that was announced goes on as what its first bytes say, whatever comes between.
func TestAnnouncedClients(t *testing.T) {
	const post = "POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 3\r\n\r\nhi\n"
	refused, stalled := "disconnect tcp: "+ErrMatcher.Error(), "disconnect tcp: "+ErrStalled.Error()
	for name, tt := range map[string]struct {
		set     func(s *Server)
		act     func(t *testing.T, l lateness)
		events  []string // behind the connect; what ends with ... may go on
		verdict string
	}{
		"raw": {nil, func(t *testing.T, l lateness) {
			send(t, l, "x y\nz")
			expect(t, l, "x y\n")
			l.Conn.(*net.TCPConn).CloseWrite()
			expect(t, l, "z\n")
		}, []string{"message x y", "message z", "disconnect tcp"}, "raw x "},
		"raw, byte by byte": {nil, func(t *testing.T, l lateness) {
			for _, b := range "POST me" {
				send(t, l, string(b))
				pauseFor(time.Millisecond)
			}
			send(t, l, "\n")
			expect(t, l, "POST me\n")
			l.Close()
		}, []string{"message POST me", "disconnect tcp"}, "raw PO"},
		"the end": {nil, func(_ *testing.T, l lateness) { l.Close() }, []string{"disconnect tcp"}, "raw "},
		"HTTP": {nil, func(t *testing.T, l lateness) {
			send(t, l, post)
			if got := expectEnd(t, l); !strings.HasSuffix(got, "hi\n") {
				t.Errorf("read %q", got)
			}
		}, []string{"connect http", "disconnect http", "disconnect tcp", "message hi"}, "http PO"},
		"TLS": {nil, func(t *testing.T, l lateness) {
			c := tls.Client(l, &tls.Config{InsecureSkipVerify: true})
			send(t, c, "x y\n")
			expect(t, c, "x y\n")
			c.Close()
		}, []string{"connect tls", "disconnect tcp", "disconnect tls", "message x y"}, "tls \x16\x03"},
		"WebSocket": {nil, func(t *testing.T, l lateness) {
			send(t, l, "GET / HTTP/1.1\r\nHost: localhost\r\n"+upgradeTo+"\r\n")
			expect(t, l, "HTTP/1.1 101 ")
			l.Close()
		}, []string{"connect ws", "disconnect tcp", "disconnect ws: ..."}, "websocket GE"},
		"h2c": {nil, func(t *testing.T, l lateness) {
			send(t, l, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")
			expect(t, l, "\x00\x00")
			l.Close()
		}, []string{"disconnect tcp"}, "h2c PR"},
		"a route of the program": {func(s *Server) { tells(s, "OWN") }, func(t *testing.T, l lateness) {
			send(t, l, "OW")
			pauseFor(time.Millisecond)
			send(t, l, "N!")
			if got := expectEnd(t, l); got != "own OWN!" {
				t.Errorf("read %q", got)
			}
		}, []string{"disconnect tcp"}, "own OW"},
		"too little": {nil, func(t *testing.T, l lateness) {
			send(t, l, "GE")
			if got := expectEnd(t, l); got != "" || l.s.Stats().Stalled != 1 {
				t.Errorf("read %q, %d have stalled", got, l.s.Stats().Stalled)
			}
		}, []string{stalled}, ""},
		"too little, for OnStall": {func(s *Server) {
			s.OnStall = handlers.HandlerFunc(func(c handlers.Conn, _ handlers.Port) {
				defer c.Close()
				if nc, err := c.NetConn(); err == nil {
					_, _ = io.CopyN(nc, nc, 2)
				}
			})
		}, func(t *testing.T, l lateness) {
			send(t, l, "GE")
			if got := expectEnd(t, l); got != "GE" {
				t.Errorf("read %q", got)
			}
		}, []string{"disconnect tcp"}, "stalled GE"},
		"a route that is undecided": {func(s *Server) { s.HandleFunc("slow", needsWindow, func(net.Conn) {}) }, func(t *testing.T, l lateness) {
			send(t, l, "x y\n")
			expect(t, l, "x y\n")
			l.Close()
		}, []string{"message x y", "disconnect tcp"}, "raw x "},
		"a matcher that panics": {func(s *Server) {
			s.HandleFunc("bad", matchers.MatcherFunc(func(matchers.Hello) matchers.Verdict { panic("oops") }), func(net.Conn) {})
		}, func(t *testing.T, l lateness) {
			send(t, l, "x y\n")
			if got := expectEnd(t, l); got != "" {
				t.Errorf("read %q", got)
			}
		}, []string{refused + "..."}, ""},
		"raw, spoken to": {nil, func(t *testing.T, l lateness) {
			l.s.Hub.Broadcast(TextMessage("hello"))
			expect(t, l, "hello\n")
			send(t, l, "POST m")
			pauseFor(2 * l.s.SniffTimeout) // it may take its time
			send(t, l, "e\n")
			expect(t, l, "POST me\n")
			l.Close()
		}, []string{"message POST me", "disconnect tcp"}, "raw PO"},
		"HTTP, spoken to": {nil, func(t *testing.T, l lateness) {
			l.s.Hub.Broadcast(TextMessage("hello"))
			send(t, l, post)
			if got := expectEnd(t, l); !strings.HasPrefix(got, "hello\n") || strings.Contains(got, " 200 ") {
				t.Errorf("read %q", got)
			}
		}, []string{"disconnect tcp: ..."}, ""},
		"ended": {nil, func(t *testing.T, l lateness) {
			for _, c := range l.s.Hub.Clients() {
				_ = c.Writer().End()
			}
			if got := expectEnd(t, l); got != "" {
				t.Errorf("read %q", got)
			}
			l.Close()
		}, []string{"disconnect tcp"}, ""},
		"destroyed": {nil, func(t *testing.T, l lateness) {
			for _, c := range l.s.Hub.Clients() {
				c.Writer().Destroy()
			}
		}, []string{"disconnect tcp"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			peekedAndRead(t, func(t *testing.T, serve func(*testing.T, *Server) string) {
				t.Parallel()
				s := &Server{}
				if tt.set != nil {
					tt.set(s)
				}
				l := late(t, s, serve)
				tt.act(t, l)
				l.Close()
				eventually(t, "all is closed", func() bool { return l.s.Stats().Open == 0 })
				got := slices.Sorted(slices.Values(l.e.waitFor(1 + len(tt.events))[1:]))
				want := slices.Sorted(slices.Values(tt.events))
				if !slices.EqualFunc(got, want, func(a, b string) bool {
					begin, more := strings.CutSuffix(b, "...")
					return a == b || more && strings.HasPrefix(a, begin)
				}) {
					t.Errorf("events\n got %q\nwant %q", got, want)
				}
				select {
				case v := <-l.verdicts:
					if v != tt.verdict {
						t.Errorf("verdict %q, want %q", v, tt.verdict)
					}
				default:
					if tt.verdict != "" {
						t.Errorf("no verdict, want %q", tt.verdict)
					}
				}
				eventually(t, "none is undecided", func() bool { return l.s.Stats().Sniffing == 0 })
			})
		})
	}
}

// What announced clients have sent before Shutdown is served, whatever it is. The others have their
// disconnect.
func TestShutdownServesAnnouncedClients(t *testing.T) {
	t.Parallel()
	kinds := []struct{ send, ends string }{
		{"{hi}\n", "{hi}\n"}, {closingPost, "hi\n"}, {"", ""}, {handshakeWS, "server is shutting down"},
	}
	peekedAndRead(t, func(t *testing.T, serve func(*testing.T, *Server) string) {
		const n = 40
		hub, e := record(echo)
		var mu sync.Mutex
		s := &Server{Hub: hub, SniffTimeout: 30 * time.Millisecond, OnVerdict: func(Verdict) {
			mu.Lock() // one after the other, so that Shutdown begins before all have theirs
			defer mu.Unlock()
			pauseFor(time.Millisecond)
		}}
		addr := serve(t, s)
		var all []net.Conn
		for range n {
			all = append(all, dial(t, addr))
		}
		eventually(t, "all are announced", func() bool { return hub.Len() == n })
		for i, c := range all {
			send(t, c, kinds[i%len(kinds)].send)
		}
		var wg sync.WaitGroup
		for i, c := range all {
			wg.Go(func() { // ends with the connection
				defer c.Close()
				kind := kinds[i%len(kinds)]
				if got, err := io.ReadAll(c); err != nil || !strings.HasSuffix(joined(string(got)), kind.ends) || kind.ends == "" && len(got) > 0 {
					t.Errorf("%q reads %q, %v", kind.send, got, err)
				}
			})
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown() = %v", err)
		}
		wg.Wait()
		ended := "disconnect tcp: " + handlers.ErrShutdown.Error()
		count := map[string]int{}
		for _, ev := range e.all() {
			count[ev]++
		}
		if count["connect tcp"] != n || count["disconnect tcp"]+count[ended] != n || count[ended] < n/len(kinds) {
			t.Errorf("events %v", count)
		}
	})
}

// Close ends announced clients, each once.
func TestCloseEndsAnnouncedClients(t *testing.T) {
	t.Parallel()
	peekedAndRead(t, func(t *testing.T, serve func(*testing.T, *Server) string) {
		l := late(t, &Server{}, serve)
		if err := l.s.Close(); err != nil {
			t.Error(err)
		}
		if _, err := io.ReadAll(l); err != nil && !errors.Is(err, net.ErrClosed) {
			t.Logf("read: %v", err) // a reset is as good as an end
		}
		l.e.want(t, "connect tcp", "disconnect tcp: "+handlers.ErrShutdown.Error())
	})
}
