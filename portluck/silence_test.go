//go:build linux

package portluck

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/portluck/portluck/handlers"
	"github.com/rs/zerolog"
)

// locked is a buffer for several goroutines.
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

// reset closes c with RST if it is a TCP connection.
func reset(t *testing.T, c net.Conn) {
	t.Helper()
	if c, ok := c.(*net.TCPConn); ok {
		if err := c.SetLinger(0); err != nil {
			t.Fatal(err)
		}
	}
	c.Close()
}

// A connection that leaves before it has sent anything, such as a health check of a proxy, raises
// no event, logs no line and does not count as a failure.
func TestSilenceIsNoFailure(t *testing.T) {
	const local = proxyV2 + "\x20\x00\x00\x00"
	old := &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12}
	offers := func(protos ...string) *tls.Config {
		return &tls.Config{InsecureSkipVerify: true, NextProtos: protos}
	}
	for name, tt := range map[string]mute{
		"nothing":                          {},
		"nothing from a proxy":             {from: fromLoopback},
		"LOCAL":                            {from: fromLoopback, first: local},
		"LOCAL with TLVs":                  {from: fromLoopback, first: proxyV2 + "\x20\x00\x00\x07\x04\x00\x04abcd"},
		"UNKNOWN":                          {from: fromLoopback, first: "PROXY UNKNOWN\r\n"},
		"a header of version 1":            {from: fromLoopback, first: proxyHead},
		"a header of version 2":            {from: fromLoopback, first: proxyV2 + "\x21\x11\x00\x0c\x01\x02\x03\x04\x05\x06\x07\x08\x30\x39\x00\x50"},
		"a long header":                    {from: fromLoopback, first: longHeader(20_000)},
		"nothing inside TLS 1.2":           {secure: old},
		"nothing inside TLS":               {secure: offers()},
		"no request of HTTP/1":             {secure: offers("http/1.1")},
		"no request of HTTP/2":             {secure: offers("h2")},
		"no request of either":             {secure: offers("h2", "http/1.1")},
		"LOCAL, nothing inside TLS":        {from: fromLoopback, first: local, secure: offers()},
		"a header, no request of HTTP/2":   {from: fromLoopback, first: proxyHead, secure: offers("h2")},
		"nothing, no raw":                  {set: func(s *Server) { s.OnUnmatched = handlers.Refuse }},
		"nothing, no TLS":                  {set: func(s *Server) { s.TLSConfig = nil }},
		"nothing, a route that is slow":    {set: func(s *Server) { s.HandleFunc("slow", needsWindow, func(net.Conn) {}) }},
		"inside TLS, a route of all":       {secure: offers(), set: func(s *Server) { s.HandleFunc("slow", needsWindow, func(net.Conn) {}) }},
		"nothing inside TLS, no raw":       {secure: offers(), set: func(s *Server) { s.OnUnmatched = handlers.Refuse }},
		"nothing, driven by goroutines":    {set: func(s *Server) { s.Goroutines = true }},
		"no request, by goroutines":        {secure: offers("http/1.1"), set: func(s *Server) { s.Goroutines = true }},
		"nothing, SniffTimeout has no end": {set: func(s *Server) { s.SniffTimeout = -1 }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			peekedAndRead(t, tt.test)
		})
	}
	t.Run("a Unix socket", func(t *testing.T) {
		t.Parallel()
		for name, tt := range map[string]mute{
			"nothing": {}, "nothing from a proxy": {from: []netip.Prefix{ProxyUnix}}, "LOCAL": {from: []netip.Prefix{ProxyUnix}, first: local},
			"a header": {from: []netip.Prefix{ProxyUnix}, first: proxyHead}, "nothing inside TLS": {secure: offers()}, "no request of HTTP/2": {secure: offers("h2")},
		} {
			for _, hide := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s, hidden %t", name, hide), func(t *testing.T) {
					tt.test(t, func(t *testing.T, s *Server) string {
						var l net.Listener = must(Listen("unix:" + filepath.Join(t.TempDir(), "s")))[0]
						addr := l.Addr().String()
						if hide {
							l = hiding{l}
						}
						serveOn(t, s, l)
						return addr
					})
				})
			}
		}
	})
}

// mute is a server and what a client does before it leaves without having said anything.
type mute struct {
	from   []netip.Prefix
	first  string
	secure *tls.Config // for a handshake after first; nil for none
	set    func(s *Server)
}

func (tt mute) test(t *testing.T, serve func(*testing.T, *Server) string) {
	var lines locked
	logger := zerolog.New(&lines).Level(zerolog.InfoLevel)
	hub, e := record(echo)
	s := &Server{
		Hub: hub, Logger: &logger, ProxyFrom: tt.from, TLSConfig: withTLS(),
		OnSilence: handlers.Refuse, // the kernel does not keep silent connections to itself
	}
	if tt.set != nil {
		tt.set(s)
	}
	addr := serve(t, s)
	network := "tcp"
	if strings.HasPrefix(addr, "/") {
		network = "unix"
	}
	n := uint64(0)
	for range 3 {
		for _, end := range []func(c, secure net.Conn){
			func(c, _ net.Conn) { c.Close() },
			func(c, _ net.Conn) { reset(t, c) },
			func(_, secure net.Conn) { secure.Close() }, // with its farewell
			func(c, secure net.Conn) {
				_ = secure.(interface{ CloseWrite() error }).CloseWrite()
				reset(t, c)
			},
			func(c, _ net.Conn) {
				_ = c.(interface{ CloseWrite() error }).CloseWrite()
				_, _ = c.Read(make([]byte, 1))
				c.Close()
			},
			func(c, _ net.Conn) {
				eventually(t, "it is accepted", func() bool { return s.Stats().Accepted == n })
				reset(t, c)
			},
		} {
			c := must(net.Dial(network, addr))
			n++
			if tt.first != "" {
				send(t, c, tt.first)
			}
			secure := c
			if tt.secure != nil {
				tc := tls.Client(c, tt.secure)
				if err := tc.Handshake(); err != nil {
					t.Error(err)
				}
				secure = tc
			}
			end(c, secure)
		}
	}
	eventually(t, "all are gone", func() bool { st := s.Stats(); return st.Accepted == n && st.Open == 0 })
	if got := e.all(); len(got) > 0 {
		t.Errorf("events %q", got)
	}
	if st := s.Stats(); st.Failed > 0 || lines.String() != "" {
		t.Errorf("%d failures, log %q", st.Failed, lines.String())
	}
}
