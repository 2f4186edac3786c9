package portluck

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/matchers"
)

// What is wrong when a route is made panics there, with a sentence that names it.
func TestWrongRoutes(t *testing.T) {
	t.Parallel()
	var (
		yes     = matchers.Prefix("X")
		noMatch matchers.MatcherFunc
		noServe handlers.HandlerFunc
		f       = func(net.Conn) {}
	)
	tests := []struct {
		name, want string
		make       func(s *Server)
	}{
		{"nil matcher", `Handle("x"): the matcher is nil`, func(s *Server) { s.Handle("x", nil, handlers.Refuse) }},
		{"nil matcher func", `Listen("x"): the matcher is nil`, func(s *Server) { s.Listen("x", noMatch) }},
		{"nil handler", `Handle("x"): the handler is nil`, func(s *Server) { s.Handle("x", yes, nil) }},
		{"nil handler func", `Handle("x"): the handler is nil`, func(s *Server) { s.Handle("x", yes, noServe) }},
		{"nil func", `HandleFunc("x"): the handler is nil`, func(s *Server) { s.HandleFunc("x", yes, nil) }},
		{"duplicate", `Listen("x"): there is a route of this name`, func(s *Server) { s.HandleFunc("x", yes, f); s.Listen("x", yes) }},
		{"built-in", `HandleFunc("http"): the name is that of a built-in route`, func(s *Server) { s.HandleFunc("http", yes, f) }},
		{"the last built-in", `Handle("stalled"): the name is`, func(s *Server) { s.Handle("stalled", yes, handlers.Refuse) }},
		{"ALPN, nil", `HandleALPN("x"): the handler is nil`, func(s *Server) { s.HandleALPN("x", nil) }},
		{"ALPN, empty", `HandleALPN(""): a protocol has`, func(s *Server) { s.HandleALPN("", handlers.Refuse) }},
		{"ALPN, long", `a protocol has`, func(s *Server) { s.HandleALPN(strings.Repeat("x", 256), handlers.Refuse) }},
		{"ALPN, twice", `HandleALPN("x"): there is a handler`, func(s *Server) { s.HandleALPN("x", handlers.Refuse); s.HandleALPN("x", handlers.Refuse) }},
		{"mount nil", "nil handler", func(s *Server) { s.Mount("/", nil) }},
		{"mount nil func", "nil handler", func(s *Server) { s.Mount("/", http.HandlerFunc(nil)) }},
		{"All", "All: a matcher is nil", func(*Server) { matchers.All(yes, nil) }},
		{"AnyOf", "AnyOf: a matcher is nil", func(*Server) { matchers.AnyOf(noMatch) }},
		{"Not", "Not: a matcher is nil", func(*Server) { matchers.Not(nil) }},
		{"Cmux", "Cmux: a matcher is nil", func(*Server) { matchers.Cmux(nil) }},
		{"FromCmux", "FromCmux: the matcher is nil", func(*Server) { matchers.FromCmux(nil) }},
		{"Regexp", "Regexp: the expression is nil", func(*Server) { matchers.Regexp(nil, 0) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			defer func() {
				if got := fmt.Sprint(recover()); !strings.Contains(got, tt.want) {
					t.Errorf("panic %q, want %q", got, tt.want)
				}
			}()
			tt.make(&Server{})
		})
	}
}

// noPrefix is one that was made of an address without as many bits; the zero one is [ProxyUnix].
var noPrefix = netip.PrefixFrom(netip.IPv4Unspecified(), 33)

// What is wrong with a field is an error before anything listens.
func TestWrongFields(t *testing.T) {
	t.Parallel()
	alpn := &Server{}
	alpn.HandleALPN("x", handlers.Refuse)
	tests := []struct {
		name, want string
		s          *Server
	}{
		{"a URL as origin", "AllowOrigin: \"https://x.com\": it has no scheme", &Server{AllowOrigin: []string{"https://x.com"}}},
		{"the second origin", "it is a host such as", &Server{AllowOrigin: []string{"x.com", "x.com/path"}}},
		{"an empty origin", "it is a host such as", &Server{AllowOrigin: []string{""}}},
		{"a port that is none", "is no port", &Server{AllowOrigin: []string{"x.com:http"}}},
		{"a URL as host", "Hosts: ", &Server{Hosts: []string{"https://x.com"}}},
		{"no certificate", "TLSConfig: there is no certificate", &Server{TLSConfig: &tls.Config{}}},
		{"an empty certificate", "certificate 0 of Certificates has", &Server{TLSConfig: &tls.Config{Certificates: []tls.Certificate{{}}}}},
		{"old TLS", "MaxVersion leaves no version", &Server{TLSConfig: &tls.Config{
			MaxVersion: tls.VersionTLS11, Certificates: withTLS().Certificates,
		}}},
		{"ALPN without TLS", "HandleALPN needs a TLSConfig", alpn},
		{"no prefix of a proxy", "ProxyFrom: a prefix that is not valid", &Server{ProxyFrom: []netip.Prefix{noPrefix}}},
		{"no prefix to speak to", "SpeakFirst: a prefix that is not valid", &Server{SpeakFirst: []netip.Prefix{noPrefix}}},
		{"a nil func", "OnStall is a nil func", &Server{OnStall: handlers.HandlerFunc(nil)}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			taken := must(net.Listen("tcp", "127.0.0.1:0")) // to listen on it would be another error
			defer taken.Close()
			tt.s.Addr = taken.Addr().String()
			if err := tt.s.ListenAndServe(); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("ListenAndServe() = %v, want %q", err, tt.want)
			}
			l := must(net.Listen("tcp", "127.0.0.1:0"))
			if err := tt.s.Serve(l); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Serve() = %v, want %q", err, tt.want)
			}
			if err := l.Close(); err == nil {
				t.Error("Serve left its listener open")
			}
		})
	}
}
