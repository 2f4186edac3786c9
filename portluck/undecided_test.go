//go:build linux

package portluck

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/matchers"
	"github.com/soheilhy/cmux"
)

type clientOfOthers struct{ send, begins, ends string }

func (client clientOfOthers) talk(c net.Conn) error {
	for piece := range strings.SplitSeq(client.send, "|") {
		if _, err := io.WriteString(c, piece); err != nil {
			return err
		}
		pauseFor(time.Millisecond)
	}
	got := make([]byte, len(client.begins))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != client.begins {
		return fmt.Errorf("read %q, %w, want %q", got, err, client.begins)
	}
	if client.ends == client.begins || client.ends == "" {
		return nil
	}
	rest, err := io.ReadAll(c)
	if all := joined(string(got) + string(rest)); err != nil || !strings.HasSuffix(all, client.ends) {
		return fmt.Errorf("read %q, %w, want %q at the end", all, err, client.ends)
	}
	return nil
}

// clientsOfOthers are clients that a route of the program does not match: what they send, with
// pauses at |, and what they get.
var clientsOfOthers = map[string]clientOfOthers{
	"POST":           {"POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi", "HTTP/1.1 200 ", "hi\n"},
	"a slow head":    {"POST / HTTP/1.1\r\n|Host: localhost\r\nConnection: close\r\n|Content-Length: 2\r\n\r\nhi", "HTTP/1.1 200 ", "hi\n"},
	"a bad request":  {"GET / HTTP/7.5\r\n\r\n", "HTTP/1.1 505 ", ""},
	"WebSocket":      {"GET / HTTP/1.1\r\nHost: localhost\r\n" + upgradeTo + "\r\n\x88\x80\x00\x00\x00\x00", "HTTP/1.1 101 ", "\x88\x00"},
	"h2c":            {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00", "\x00\x00", ""},
	"a line":         {"hello\n", "hello\n", "hello\n"},
	"a line of two":  {"hel|lo\nyou\n", "hello\nyou\n", "hello\nyou\n"},
	"no line end":    {"SSH-", "stalled", "stalled"},
	"half a method":  {"GE", "stalled", "stalled"},
	"half a preface": {"PRI * HTTP/2.0\r\n\r\nS", "stalled", "stalled"},
}

// A route of the program that stays undecided delays clients of other protocols by SniffTimeout. A
// route that decides does not delay them. Neither ever costs them their connection.
func TestUndecidedRoutes(t *testing.T) {
	for name, tt := range map[string]struct {
		m    matchers.Matcher
		says bool // No at once
	}{
		"Regexp":             {matchers.Regexp(regexp.MustCompile(`\AFOO\d`), 0), true},
		"cmux, never":        {matchers.FromCmux(func(r io.Reader) bool { _, _ = io.ReadFull(r, make([]byte, 64<<10)); return false }), false},
		"cmux, h2 field":     {matchers.FromCmux(cmux.HTTP2HeaderField("content-type", "application/grpc")), false},
		"cmux, HTTP/1 field": {matchers.FromCmux(cmux.HTTP1HeaderField("X-Other", "yes")), false},
		"needs a window":     {needsWindow, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			peekedAndRead(t, func(t *testing.T, serve func(*testing.T, *Server) string) {
				s := &Server{Hub: echoHub(), TLSConfig: withTLS(), SniffTimeout: sniffSoon, OnSilence: handlers.Refuse, OnStall: handlers.HandlerFunc(func(c handlers.Conn, _ handlers.Port) {
					if nc, err := c.NetConn(); err == nil {
						_, _ = io.WriteString(nc, "stalled")
					}
					c.Close()
				})}
				if tt.says {
					s.SniffTimeout = time.Minute
				}
				s.HandleFunc("other", tt.m, func(c net.Conn) { _, _ = io.WriteString(c, "other") })
				allowHandshakes(t, s)
				addr := serve(t, s)
				for name, client := range clientsOfOthers {
					if tt.says && client.ends == "stalled" {
						continue
					}
					for _, secure := range []bool{false, true} {
						t.Run(map[bool]string{false: name, true: name + ", TLS"}[secure], func(t *testing.T) {
							t.Parallel()
							if err := unlessSilent(s, func() error {
								var c net.Conn = dial(t, addr)
								if secure {
									c = tls.Client(c, &tls.Config{InsecureSkipVerify: true})
								}
								return client.talk(c)
							}); err != nil {
								t.Error(err)
							}
						})
					}
				}
			})
		})
	}
}

// After its ClientHello a TLS client waits for the server. An undecided route of the program does
// not delay it, however the ClientHello is cut.
func TestUndecidedRoutesWaitForNoHello(t *testing.T) {
	t.Parallel()
	never := matchers.FromCmux(func(r io.Reader) bool { _, _ = io.ReadFull(r, make([]byte, 64<<10)); return false })
	peekedAndRead(t, func(t *testing.T, serve func(*testing.T, *Server) string) {
		s := &Server{Hub: echoHub(), TLSConfig: withTLS()}
		s.HandleFunc("never", never, func(net.Conn) {})
		s.HandleFunc("needs a window", needsWindow, func(net.Conn) {})
		s.HandleFunc("hello", matchers.SNI("mine.example"), func(c net.Conn) { _, _ = io.WriteString(c, "mine") })
		addr := serve(t, s)
		for _, piece := range []int{1 << 20, 200, 3} {
			for _, proto := range []string{"h2", "http/1.1"} {
				c := tls.Client(bits{dial(t, addr), piece}, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{proto}})
				if err := c.Handshake(); err != nil {
					t.Errorf("%s, %d bytes at once: %v", proto, piece, err)
				}
			}
			c := dial(t, addr)
			_ = tls.Client(bits{c, piece}, &tls.Config{ServerName: "mine.example"}).Handshake()
			expectEnd(t, c)
		}
		if got := s.Stats().Routes["hello"]; got != 3 {
			t.Errorf("%d reach the route that knows the ClientHello, want 3", got)
		}
	})
}

// bits is a connection that splits each write into small pieces.
type bits struct {
	net.Conn
	size int
}

// Write implements net.Conn.
func (p bits) Write(b []byte) (n int, err error) {
	for n < len(b) && err == nil {
		var k int
		k, err = p.Conn.Write(b[n:min(len(b), n+p.size)])
		n += k
	}
	return n, err
}

// What a client has sent before Shutdown is served, even if a route of the program is undecided.
func TestShutdownPassesOverUndecidedRoutes(t *testing.T) {
	t.Parallel()
	for name, wrap := range map[string]func(net.Listener) net.Listener{
		"peeked": func(l net.Listener) net.Listener { return l },
		"read":   func(l net.Listener) net.Listener { return hiding{l} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &Server{Hub: echoHub(), TLSConfig: withTLS(), SniffTimeout: time.Minute}
			s.HandleFunc("other", matchers.All(needsWindow, matchers.Not(matchers.Prefix("\x16"))), func(net.Conn) {})
			l := listen(t)
			done := make(chan error, 1)
			go func() { done <- s.Serve(wrap(l)) }()
			clients := map[string]net.Conn{}
			for _, name := range []string{"POST", "a line"} {
				clients[name], clients[name+", TLS"] = dial(t, l.Addr().String()), dialTLS(t, l.Addr().String())
			}
			for name, c := range clients {
				name, _, _ = strings.Cut(name, ",")
				send(t, c, clientsOfOthers[name].send)
			}
			eventually(t, "all are accepted", func() bool { return s.Stats().Open == len(clients) })
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			if err := s.Shutdown(ctx); err != nil {
				t.Errorf("Shutdown() = %v", err)
			}
			<-done
			for name, c := range clients {
				kind, _, _ := strings.Cut(name, ",")
				if got := expectEnd(t, c); !strings.HasSuffix(got, clientsOfOthers[kind].ends) {
					t.Errorf("%s reads %q", name, got)
				}
			}
		})
	}
}

// needsWindow is a matcher that stays undecided until it sees a whole Window, or the end.
var needsWindow = matchers.MatcherFunc(func(h matchers.Hello) matchers.Verdict {
	if h.EOF || len(h.Bytes) >= matchers.Window {
		return matchers.No
	}
	return matchers.Need(matchers.Window)
})

// A stalled h2 client never gets an answer in HTTP/1, even if a route is undecided.
func TestStalledPrefaceGetsNoHTTP1(t *testing.T) {
	t.Parallel()
	peekedAndRead(t, func(t *testing.T, serve func(*testing.T, *Server) string) {
		s := &Server{SniffTimeout: sniffSoon, OnSilence: handlers.Refuse}
		s.HandleFunc("grpc", matchers.FromCmux(cmux.HTTP2HeaderField("content-type", "application/grpc")), func(net.Conn) {})
		addr := serve(t, s)
		var wg sync.WaitGroup
		for _, first := range []string{"P", "PRI", "PRI * HTTP/2.0\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r"} {
			wg.Go(func() { // ends with its connection
				if err := unlessSilent(s, func() error { return endsEmpty(dial(t, addr), first) }); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	})
}
