//go:build linux

package portluck

import (
	"bytes"
	"crypto/tls"
	"net"
	"net/netip"
	"sync"
	"testing"

	"github.com/portluck/portluck/handlers"
	"github.com/rs/zerolog"
)

// locked is a buffer that may be written to and read at once.
type locked struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *locked) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// reset ends c with RST.
func reset(t *testing.T, c *net.TCPConn) {
	t.Helper()
	if err := c.SetLinger(0); err != nil {
		t.Fatal(err)
	}
	c.Close()
}

// A connection that goes before it has said anything, as the health checks of proxies do, raises no
// event, writes no line and counts as no failure.
func TestSilenceIsNoFailure(t *testing.T) {
	const local = proxyV2 + "\x20\x00\x00\x00"
	tests := map[string]struct {
		from  []netip.Prefix
		first string
		tls   bool
	}{
		"nothing":                   {},
		"nothing from a proxy":      {from: fromLoopback},
		"LOCAL":                     {from: fromLoopback, first: local},
		"UNKNOWN":                   {from: fromLoopback, first: "PROXY UNKNOWN\r\n"},
		"a header of version 1":     {from: fromLoopback, first: proxyHead},
		"a header of version 2":     {from: fromLoopback, first: proxyV2 + "\x21\x11\x00\x0c\x01\x02\x03\x04\x05\x06\x07\x08\x30\x39\x00\x50"},
		"nothing inside TLS":        {tls: true},
		"LOCAL, nothing inside TLS": {from: fromLoopback, first: local, tls: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			peekedAndRead(t, func(t *testing.T, serve func(*testing.T, *Server) string) {
				var lines locked
				logger := zerolog.New(&lines).Level(zerolog.InfoLevel)
				hub, e := record(echo)
				s := &Server{
					Hub: hub, Logger: &logger, ProxyFrom: tt.from, TLSConfig: withTLS(),
					OnSilence: handlers.Refuse, // the kernel does not keep silent connections to itself
				}
				addr := serve(t, s)
				n := uint64(0)
				for range 3 {
					for _, end := range []func(*net.TCPConn){
						func(c *net.TCPConn) { c.Close() },
						func(c *net.TCPConn) { reset(t, c) },
						func(c *net.TCPConn) {
							_ = c.CloseWrite()
							_, _ = c.Read(make([]byte, 1))
						},
						func(c *net.TCPConn) {
							eventually(t, "it is accepted", func() bool { return s.Stats().Accepted == n })
							reset(t, c)
						},
					} {
						c := dial(t, addr)
						n++
						if tt.first != "" {
							send(t, c, tt.first)
						}
						if tt.tls {
							shake(t, c)
						}
						end(c)
					}
				}
				eventually(t, "all are gone", func() bool { st := s.Stats(); return st.Accepted == n && st.Open == 0 })
				if got := e.all(); len(got) > 0 {
					t.Errorf("events %q", got)
				}
				if st := s.Stats(); st.Failed > 0 || lines.String() != "" {
					t.Errorf("%d failures, log %q", st.Failed, lines.String())
				}
			})
		})
	}
}

// shake shakes hands by TLS 1.2, in which the server is done first.
func shake(t *testing.T, c net.Conn) {
	t.Helper()
	secure := tls.Client(c, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12})
	if err := secure.Handshake(); err != nil {
		t.Error(err)
	}
}
