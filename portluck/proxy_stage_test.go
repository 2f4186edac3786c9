//go:build linux

package portluck

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/portluck/portluck/handlers"
)

var fromLoopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}

const proxyHead = "PROXY TCP4 192.0.2.7 192.0.2.1 1000 80\r\n"

// A PROXY header is mandatory. Whatever a server does with silent, stalled or unknown clients, it
// serves nothing to a connection before its header.
func TestNothingIsServedBeforeTheProxyHeader(t *testing.T) {
	greet := handlers.HandlerFunc(func(c handlers.Conn, _ handlers.Port) {
		if nc, err := c.NetConn(); err == nil {
			io.WriteString(nc, "hello from a handler")
		}
		c.Close()
	})
	servers := map[string]func(*Server){
		"raw":          func(*Server) {},
		"OnSilence":    func(s *Server) { s.OnSilence = greet },
		"SpeakFirst":   func(s *Server) { s.OnSilence, s.SpeakFirst = greet, fromLoopback },
		"OnStall":      func(s *Server) { s.OnStall = greet },
		"OnUnmatched":  func(s *Server) { s.OnUnmatched = greet },
		"no raw":       func(s *Server) { s.OnUnmatched = handlers.Refuse },
		"no SniffTime": func(s *Server) { s.SniffTimeout = -1 },
	}
	firsts := map[string]string{
		"silence": "", "half a header": proxyHead[:20], "version 2": proxyV2 + "\x21\x11", "half of either": "\r\n\r", "another protocol": "{}\n", "a request": "GET / HTTP/1.1\r\n\r\n",
	}
	for name, set := range servers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			peekedAndRead(t, func(t *testing.T, serve func(*testing.T, *Server) string) {
				hub, e := record(echo)
				s := &Server{Hub: hub, ProxyFrom: fromLoopback, ProxyTimeout: 2 * sniffSoon, SniffTimeout: sniffSoon / 4, TLSConfig: withTLS()}
				set(s)
				addr := serve(t, s)
				all := map[string]io.Reader{}
				for name, first := range firsts {
					for _, fin := range []bool{false, true} {
						c := dial(t, addr)
						send(t, c, first)
						if fin {
							c.CloseWrite()
						}
						all[fmt.Sprintf("%s, FIN %t", name, fin)] = c
					}
				}
				pauseFor(sniffSoon)
				hub.Broadcast(TextMessage("for members only"))
				for name, c := range all {
					if got, _ := io.ReadAll(c); len(got) > 0 {
						t.Errorf("%s: read %q", name, got)
					}
				}
				eventually(t, "all are gone", func() bool { return s.Stats().Open == 0 })
				// a client that leaves without sending anything is no failure
				for _, ev := range e.waitFor(2*len(firsts) - 1) {
					if !strings.HasPrefix(ev, "error "+ErrProxy.Error()) {
						t.Errorf("event %q", ev)
					}
				}
				if st := s.Stats(); st.ProxyTimeouts != 4 || st.Silent != 0 || st.Stalled != 0 {
					t.Errorf("%d ran out of time, %d were silent, %d stalled; want 4, 0, 0", st.ProxyTimeouts, st.Silent, st.Stalled)
				}
			})
		})
	}
}

// A header that comes late, but before ProxyTimeout, is read. SniffTimeout begins after it.
func TestProxyHeaderAfterSniffTimeout(t *testing.T) {
	peekedAndRead(t, func(t *testing.T, serve func(*testing.T, *Server) string) {
		hub, e := record(echo)
		connect := hub.OnConnect
		hub.OnConnect = func(w *Writer, c *Client) {
			if got := c.Remote().String(); got != "192.0.2.7:1000" {
				t.Errorf("a client of %s", got)
			}
			connect(w, c)
		}
		s := &Server{Hub: hub, ProxyFrom: fromLoopback, SniffTimeout: sniffSoon}
		addr := serve(t, s)
		c, silent := dial(t, addr), dial(t, addr)
		pauseFor(2 * sniffSoon)
		if st := s.Stats(); st.Sniffing != 2 || st.Silent != 0 {
			t.Errorf("%d are undecided, %d silent; want 2, 0", st.Sniffing, st.Silent)
		}
		send(t, c, proxyHead[:30])
		send(t, c, proxyHead[30:]+"{hi}\n")
		expect(t, c, "{hi}\n")
		send(t, silent, proxyHead)
		eventually(t, "it is announced", func() bool { return s.Stats().Silent == 1 })
		send(t, silent, "{later}\n")
		expect(t, silent, "{later}\n")
		if got := e.all(); slices.ContainsFunc(got, func(s string) bool { return strings.HasPrefix(s, "error") }) {
			t.Errorf("events %q", got)
		}
	})
}

// Inside TLS a PROXY header is not read, whatever address it has.
func TestProxyHeaderOutsideTLSOnly(t *testing.T) {
	peekedAndRead(t, func(t *testing.T, serve func(*testing.T, *Server) string) {
		for _, head := range []string{"PROXY UNKNOWN\r\n", "PROXY TCP4 127.0.0.9 127.0.0.1 1000 80\r\n", proxyV2 + "\x20\x00\x00\x00"} {
			addr := serve(t, &Server{Hub: echoHub(), ProxyFrom: fromLoopback, TLSConfig: withTLS()})
			c := dial(t, addr)
			send(t, c, head)
			secure := tls.Client(c, &tls.Config{InsecureSkipVerify: true})
			send(t, secure, "{hi}\n")
			expect(t, secure, "{hi}\n")
		}
	})
}

// At a shutdown, too, nothing is served before the header. Connections whose header is complete are
// served.
func TestShutdownBeforeTheProxyHeader(t *testing.T) {
	peekedAndRead(t, func(t *testing.T, serve func(*testing.T, *Server) string) {
		hub, e := record(echo)
		s := &Server{Hub: hub, ProxyFrom: fromLoopback, SniffTimeout: sniffSoon, ProxyTimeout: time.Hour}
		addr := serve(t, s)
		silent, half, whole := dial(t, addr), dial(t, addr), dial(t, addr)
		send(t, half, proxyHead[:20])
		eventually(t, "they are undecided", func() bool { return s.Stats().Sniffing == 3 })
		send(t, whole, proxyHead+"POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 3\r\n\r\nhi\n")
		if err := s.Shutdown(t.Context()); err != nil {
			t.Errorf("Shutdown() = %v", err)
		}
		for _, c := range []io.Reader{silent, half} {
			if got, _ := io.ReadAll(c); len(got) > 0 {
				t.Errorf("read %q", got)
			}
		}
		if got := expectEnd(t, whole); !strings.HasSuffix(got, "hi\n") {
			t.Errorf("the whole one reads %q", got)
		}
		for _, ev := range e.all() {
			if strings.HasPrefix(ev, "connect") && ev != "connect http" {
				t.Errorf("event %q", ev)
			}
		}
	})
}

// Zero means 10 seconds and a negative value no bound. The kernel does not hold back a silent
// connection for longer than the bound.
func TestProxyTimeout(t *testing.T) {
	for _, tt := range []struct {
		set, want time.Duration
		defers    bool
	}{{0, 10 * time.Second, true}, {-1, -1, true}, {time.Second, time.Second, false}, {time.Minute, time.Minute, true}} {
		t.Run(fmt.Sprint(tt.set), func(t *testing.T) {
			p := portOf(t, &Server{ProxyTimeout: tt.set, ProxyFrom: fromLoopback})
			if got := p.patience(stageProxy); got != tt.want {
				t.Errorf("patience = %v, want %v", got, tt.want)
			}
			if p.defers() != tt.defers {
				t.Errorf("defers() = %t", p.defers())
			}
		})
	}
}
