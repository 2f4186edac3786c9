//go:build linux

package portluck

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/matchers"
)

// ownRoutes returns three servers: without a route of the program, with a route whose matcher comes
// from package matchers, and with one whose matcher is the program's own.
func ownRoutes() (none, builtin, foreign *Server) {
	with := func(m matchers.Matcher) *Server {
		s := &Server{Hub: echoHub()}
		s.Handle("own", m, handlers.Refuse)
		return s
	}
	own := matchers.Prefix("own protocol")
	return &Server{Hub: echoHub()}, with(own), with(matchers.MatcherFunc(own.Match))
}

// BenchmarkOwnRoute is connect, a line, its echo, close, with and without a route of the program's
// own.
func BenchmarkOwnRoute(b *testing.B) {
	none, builtin, foreign := ownRoutes()
	compare(b, "line",
		contender{"none", serve(b, none)}, contender{"builtin", serve(b, builtin)}, contender{"foreign", serve(b, foreign)})
}

// BenchmarkPings sends messages over WebSockets, with and without pings to silent clients.
func BenchmarkPings(b *testing.B) {
	compare(b, "websocket",
		contender{"none", serve(b, &Server{Hub: echoHub(), PingInterval: -1})},
		contender{"pings", serve(b, &Server{Hub: echoHub()})})
}

// webSockets sends n messages over four WebSockets, and waits for the echo of each.
func webSockets(addr string, n int) error {
	shaken := make(map[net.Conn]bool)
	var mu sync.Mutex
	return fourConns(addr, n, func(c net.Conn, r *bufio.Reader) error {
		mu.Lock()
		first := !shaken[c]
		shaken[c] = true
		mu.Unlock()
		if first {
			io.WriteString(c, "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
				"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
			if resp, err := http.ReadResponse(r, nil); err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
				return fmt.Errorf("handshake: %w, %v", err, resp)
			}
		}
		io.WriteString(c, "\x81\x82\x00\x00\x00\x00hi") // a text, masked by zeros
		echo := make([]byte, 4)
		if _, err := io.ReadFull(r, echo); err != nil || string(echo) != "\x81\x02hi" {
			return fmt.Errorf("read %q, %w", echo, err)
		}
		return nil
	})
}

// BenchmarkJudge classifies a line, with and without a route of the program's own.
func BenchmarkJudge(b *testing.B) {
	none, builtin, foreign := ownRoutes()
	for name, s := range map[string]*Server{"none": none, "builtin": builtin, "foreign": foreign} {
		b.Run(name, func(b *testing.B) {
			p := must(s.start())
			b.Cleanup(func() { s.Close() })
			c := &conn{port: p, sniffing: &sniffing{}}
			line := []byte(benchLine)
			b.ReportAllocs()
			for b.Loop() {
				if r, _, err := p.judge(c, line, false, false); r == nil || err != nil {
					b.Fatal(r, err)
				}
			}
		})
	}
}
