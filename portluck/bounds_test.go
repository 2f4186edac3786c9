package portluck

import (
	"cmp"
	"math"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/httpd"
	"github.com/portluck/portluck/handlers/tlsd"
	"github.com/portluck/portluck/matchers"
)

// A bound of zero means the default and a negative one means no bound, in the server and in each
// handler that gets the bound from it.
func TestBoundsOfAServer(t *testing.T) {
	const set = 5 * time.Second
	for _, tt := range []struct {
		name  string
		field func(s *Server, d time.Duration)
		zero  time.Duration
		where map[string]func(p *port) time.Duration
	}{
		{"SniffTimeout", func(s *Server, d time.Duration) { s.SniffTimeout = d }, 2 * time.Second, map[string]func(p *port) time.Duration{
			"the server":               func(p *port) time.Duration { return p.srv.sniffTimeout() },
			"the loop's handshakes":    func(p *port) time.Duration { return p.loop.HandshakeTimeout },
			"TLS handshakes":           func(p *port) time.Duration { return p.tls().(*tlsd.Handler).HandshakeTimeout },
			"a listener's connections": func(p *port) time.Duration { return p.srv.listens[0].patience() },
		}},
		{"Timeout", func(s *Server, d time.Duration) { s.Timeout = d }, 2 * time.Minute, map[string]func(p *port) time.Duration{
			"the server": func(p *port) time.Duration { return p.srv.timeout() },
			"the loop":   func(p *port) time.Duration { return p.loop.Timeout },
			"HTTP":       func(p *port) time.Duration { return p.http.IdleTimeout },
		}},
		{"MessageTimeout", func(s *Server, d time.Duration) { s.MessageTimeout = d }, 2 * time.Minute, map[string]func(p *port) time.Duration{
			"the loop": func(p *port) time.Duration { return p.loop.MessageTimeout },
			"HTTP":     func(p *port) time.Duration { return p.http.MessageTimeout },
		}},
		{"PingInterval", func(s *Server, d time.Duration) { s.PingInterval = d }, 25 * time.Second, map[string]func(p *port) time.Duration{
			"the loop": func(p *port) time.Duration { return p.loop.PingInterval },
		}},
		{"HeaderTimeout", func(s *Server, d time.Duration) { s.HeaderTimeout = d }, 10 * time.Second, map[string]func(p *port) time.Duration{
			"a first head": func(p *port) time.Duration { return p.patience(stageHead) },
			"later heads":  func(p *port) time.Duration { return cmp.Or(p.http.HeaderTimeout, httpd.DefaultHeaderTimeout) },
		}},
		{"HandshakeTimeout", func(s *Server, d time.Duration) { s.HandshakeTimeout = d }, 10 * time.Second, map[string]func(p *port) time.Duration{
			"OnHandshake": func(p *port) time.Duration { return p.srv.handshakeTimeout() },
		}},
		{"ParkAfter", func(s *Server, d time.Duration) { s.ParkAfter = d }, time.Second, map[string]func(p *port) time.Duration{
			"HTTP": func(p *port) time.Duration {
				return cmp.Or(max(p.http.ParkAfter, -1), httpd.DefaultParkAfter)
			},
		}},
		{"ProxyTimeout", func(s *Server, d time.Duration) { s.ProxyTimeout = d }, 10 * time.Second, map[string]func(p *port) time.Duration{
			"the header": func(p *port) time.Duration { return p.patience(stageProxy) },
		}},
	} {
		for _, v := range []struct {
			name        string
			value, want time.Duration
		}{{"zero", 0, tt.zero}, {"negative", -time.Hour, -1}, {"set", set, set}} {
			s := &Server{TLSConfig: withTLS()}
			tt.field(s, v.value)
			p := portOf(t, s)
			for where, of := range tt.where {
				if got := max(of(p), -1); got != v.want {
					t.Errorf("%s %s: %s has %v, want %v", tt.name, v.name, where, got, v.want)
				}
			}
		}
	}
}

// The same holds for limits.
func TestLimitsOfAServer(t *testing.T) {
	for _, tt := range []struct {
		name  string
		field func(s *Server, n int)
		zero  int
		none  int
		of    func(p *port) int
	}{
		{"MessageLimit", func(s *Server, n int) { s.MessageLimit = n }, 1 << 20, -1, func(p *port) int { return max(p.lines.Limit, -1) }},
		{"MessageLimit of HTTP", func(s *Server, n int) { s.MessageLimit = n }, 1 << 20, -1, func(p *port) int { return max(p.http.Limit, -1) }},
		{"MaxSniffing", func(s *Server, n int) { s.MaxSniffing = n }, 16 << 10, math.MaxInt, func(p *port) int { return p.srv.maxSniffing() }},
		{"MaxHandshakes", func(s *Server, n int) { s.MaxHandshakes = n }, 16 << 10, math.MaxInt, func(p *port) int { return p.srv.maxHandshakes() }},
		{"MaxPartial", func(s *Server, n int) { s.MaxPartial = int64(n) }, 256 << 20, math.MaxInt, func(p *port) int { return left(&p.budget) }},
		{"MaxConns", func(s *Server, n int) { s.MaxConns = n }, math.MaxInt, math.MaxInt, admitted},
		{"MaxConnsPerIP", func(s *Server, n int) { s.MaxConnsPerIP = n }, math.MaxInt, math.MaxInt, admitted},
	} {
		for _, v := range []struct {
			name        string
			value, want int
		}{{"zero", 0, tt.zero}, {"negative", -7, tt.none}, {"set", 5, 5}} {
			s := &Server{}
			tt.field(s, v.value)
			if got := tt.of(portOf(t, s)); got != v.want {
				t.Errorf("%s %s: %d, want %d", tt.name, v.name, got, v.want)
			}
		}
	}
}

// Each number and duration of a server has a row in one of the tables above. The rows of
// CompressMin and MaxInlineRequest are in the tables of handlers/websocket and httpd, which get
// them unchanged.
func TestBoundsOfAServerAreAll(t *testing.T) {
	rows := "SniffTimeout HeaderTimeout Timeout MessageTimeout PingInterval ParkAfter ProxyTimeout HandshakeTimeout MessageLimit MaxSniffing MaxHandshakes MaxPartial CompressMin MaxInlineRequest MaxConns MaxConnsPerIP"
	of := reflect.TypeFor[Server]()
	for i := range of.NumField() {
		f := of.Field(i)
		if f.IsExported() && f.Type.ConvertibleTo(reflect.TypeFor[int64]()) && !slices.Contains(strings.Fields(rows), f.Name) {
			t.Errorf("Server.%s has no row", f.Name)
		}
	}
}

// left returns the largest of the tried amounts that an unused budget gives, or math.MaxInt if it
// gives any amount.
func left(b *handlers.Budget) int {
	for _, n := range []int{5, 256 << 20} {
		if b.Take(n + 1) {
			b.Take(-n - 1)
		} else {
			return n
		}
	}
	return math.MaxInt
}

// portOf returns the port of s, which serves nothing yet.
func portOf(t *testing.T, s *Server) *port {
	t.Helper()
	s.Listen("nobody", matchers.Prefix())
	p := must(s.start())
	t.Cleanup(func() { s.Close() })
	return p
}

// admitted returns how many connections of one address the port admits, or math.MaxInt if there is
// no bound.
func admitted(p *port) int {
	who := peerOf(netip.MustParseAddrPort("192.0.2.1:1"))
	l := limits{max: p.limits.max, perIP: p.limits.perIP}
	for n := range 100 {
		if !l.admit(&conn{}, who) {
			return n
		}
	}
	return math.MaxInt
}
