package portluck

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"regexp"
	"strings"
	"testing"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/callosum"
	"github.com/portluck/portluck/handlers/mesh"
	"github.com/portluck/portluck/handlers/tcp"
	"github.com/portluck/portluck/handlers/udp"
	"github.com/portluck/portluck/matchers"
)

// Registering a wrong route panics with a sentence that names the fault.
func TestWrongRoutes(t *testing.T) {
	t.Parallel()
	var (
		yes     = matchers.Prefix("X")
		noMatch matchers.MatcherFunc
		noServe handlers.HandlerFunc
		f       = func(net.Conn) {}

		noPointer *pointer
	)
	tests := []struct {
		name, want string
		make       func(s *Server)
	}{
		{"nil matcher", `Handle("x"): the matcher is nil`, func(s *Server) { s.Handle("x", nil, handlers.Refuse) }},
		{"nil matcher func", `Listen("x"): the matcher is nil`, func(s *Server) { s.Listen("x", noMatch) }},
		{"nil handler", `Handle("x"): the handler is nil`, func(s *Server) { s.Handle("x", yes, nil) }},
		{"nil pointer as matcher", `HandleFunc("x"): the matcher is nil`, func(s *Server) { s.HandleFunc("x", noPointer, f) }},
		{"nil pointer as handler", `Handle("x"): the handler is nil`, func(s *Server) { s.Handle("x", yes, noPointer) }},
		{"no name", `Handle(""): the name is empty`, func(s *Server) { s.Handle("", yes, handlers.Refuse) }},
		{"no name of a func", `HandleFunc(""): the name is empty`, func(s *Server) { s.HandleFunc("", yes, f) }},
		{"no name of a listener", `Listen(""): the name is empty`, func(s *Server) { s.Listen("", yes) }},
		{"ALPN, nil pointer", `HandleALPN("x"): the handler is nil`, func(s *Server) { s.HandleALPN("x", noPointer) }},
		{"mount a nil pointer", `Mount("/"): nil handler`, func(s *Server) { s.Mount("/", noPointer) }},
		{"mount a nil mux", `Mount("/"): nil handler`, func(s *Server) { s.Mount("/", (*http.ServeMux)(nil)) }},
		{"mount no pattern", "invalid pattern", func(s *Server) { s.Mount("", http.NotFoundHandler()) }},
		{"All, nil pointer", "All: a matcher is nil", func(*Server) { matchers.All(noPointer) }},
		{"ALPN matcher", "ALPN: \"\": a protocol has", func(*Server) { matchers.ALPN("h2", "") }},
		{"From", "From: a prefix that is not valid", func(*Server) { matchers.From(netip.Prefix{}) }},
		{"HTTP1Header", "HTTP1Header: \"a b\" is no name", func(*Server) { matchers.HTTP1Header("a b", "x") }},
		{"HTTP1Header, empty", "HTTP1Header: \"\" is no name", func(*Server) { matchers.HTTP1Header("", "x") }},
		{"nil handler func", `Handle("x"): the handler is nil`, func(s *Server) { s.Handle("x", yes, noServe) }},
		{"nil func", `HandleFunc("x"): the handler is nil`, func(s *Server) { s.HandleFunc("x", yes, nil) }},
		{"duplicate", `Listen("x"): there is a route of this name`, func(s *Server) { s.HandleFunc("x", yes, f); s.Listen("x", yes) }},
		{"built-in", `HandleFunc("http"): the name is that of a built-in route`, func(s *Server) { s.HandleFunc("http", yes, f) }},
		{"the last built-in", `Handle("stalled"): the name is`, func(s *Server) { s.Handle("stalled", yes, handlers.Refuse) }},
		{"ALPN, nil", `HandleALPN("x"): the handler is nil`, func(s *Server) { s.HandleALPN("x", nil) }},
		{"ALPN, empty", `HandleALPN(""): a protocol has`, func(s *Server) { s.HandleALPN("", handlers.Refuse) }},
		{"ALPN listener, empty", `ListenALPN(""): a protocol has`, func(s *Server) { s.ListenALPN("") }},
		{"ALPN listener, twice", `ListenALPN("x"): there is a handler`, func(s *Server) { s.ListenALPN("x"); s.ListenALPN("x") }},
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
		{"SNI of a URL", `SNI: "https://x.com" is no name of a host`, func(*Server) { matchers.SNI("x.com", "https://x.com") }},
		{"SNI, empty", `SNI: "" is no name of a host`, func(*Server) { matchers.SNI("") }},
		{"SNI with a port", `SNI: "x.com:443" is no name`, func(*Server) { matchers.SNI("x.com:443") }},
		{"SNI with a dot at the end", `SNI: "x.com." is no name`, func(*Server) { matchers.SNI("x.com.") }},
		{"SNI, a star alone", `SNI: "*" is no name`, func(*Server) { matchers.SNI("*") }},
		{"SNI, a star in a label", `SNI: "a*.x.com" is no name`, func(*Server) { matchers.SNI("a*.x.com") }},
		{"SNI in Unicode", `is no name of a host`, func(*Server) { matchers.SNI("bücher.example") }},
		{"SNI, a long label", `is no name of a host`, func(*Server) { matchers.SNI(strings.Repeat("x", 64) + ".com") }},
		{"SNI, a long name", `is no name of a host`, func(*Server) { matchers.SNI(strings.Repeat("x.", 127) + "com") }},
		{"TLSVersion", `TLSVersion: 0x000d is no version of TLS`, func(*Server) { matchers.TLSVersion(tls.VersionTLS13, 13) }},
		{"Prefix, long", "Prefix: a word has up to", func(*Server) { matchers.Prefix(strings.Repeat("x", matchers.Window+1)) }},
		{"HTTP1Header, spaces", "no field can have the value", func(*Server) { matchers.HTTP1Header("Host", "x.com ") }},
		{"HTTP1Header, a line end", "no field can have the value", func(*Server) { matchers.HTTP1Header("Host", "x\nX: y") }},
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

// A pointer implements everything that can be registered, with methods of its pointer, so that a
// nil pointer of it can be registered by mistake.
type pointer struct{ name string }

func (p *pointer) Match(matchers.Hello) matchers.Verdict           { return matchers.No }
func (p *pointer) Serve(handlers.Conn, handlers.Port)              { panic(p.name) }
func (p *pointer) ServeHTTP(http.ResponseWriter, *http.Request)    { panic(p.name) }
func (p *pointer) ServePacket(net.PacketConn, handlers.Port) error { panic(p.name) }
func (p *pointer) Shutdown(context.Context) error                  { panic(p.name) }
func (p *pointer) Close() error                                    { panic(p.name) }

// otherKey is the key of no certificate.
var otherKey = must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))

// noPrefix is an invalid prefix: it has more bits than its address. It is not the zero Prefix,
// which is [ProxyUnix].
var noPrefix = netip.PrefixFrom(netip.IPv4Unspecified(), 33)

// A wrong field is an error before anything listens.
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
		{"an empty certificate", "certificate 0 of Certificates: it has", &Server{TLSConfig: &tls.Config{Certificates: []tls.Certificate{{}}}}},
		{"old TLS", "MaxVersion leaves no version", &Server{TLSConfig: &tls.Config{
			MaxVersion: tls.VersionTLS11, Certificates: withTLS().Certificates,
		}}},
		{"ALPN without TLS", "HandleALPN needs a TLSConfig", alpn},
		{"no prefix of a proxy", "ProxyFrom: a prefix that is not valid", &Server{ProxyFrom: []netip.Prefix{noPrefix}}},
		{"no prefix to speak to", "SpeakFirst: a prefix that is not valid", &Server{SpeakFirst: []netip.Prefix{noPrefix}}},
		{"an empty host", "Hosts: \"\": it is a name", &Server{Hosts: []string{"x.com", ""}}},
		{"an empty subprotocol", "Protocols: \"\": each is a name", &Server{Protocols: []string{"chat", ""}}},
		{"no subprotocol", "Protocols: \"a b\": each is a name", &Server{Protocols: []string{"a b"}}},
		{"a subprotocol twice", "Protocols: \"chat\": each is a name", &Server{Protocols: []string{"chat", "chat"}}},
		{"no expression", "AllowOriginRegexp: ", &Server{AllowOriginRegexp: regexp.MustCompilePOSIX("a**")}},
		{"TLS of the future", "MinVersion leaves no version", &Server{TLSConfig: &tls.Config{
			MinVersion: 0x0400, Certificates: withTLS().Certificates,
		}}},
		{"a key that is a nil pointer", "certificate 0 of Certificates: it has", &Server{TLSConfig: &tls.Config{
			Certificates: []tls.Certificate{{Certificate: [][]byte{{}}, PrivateKey: (*ecdsa.PrivateKey)(nil)}},
		}}},
		{"a key of another certificate", "the key is another certificate's", &Server{TLSConfig: &tls.Config{
			Certificates: []tls.Certificate{withTLS().Certificates[0], {Certificate: withTLS().Certificates[0].Certificate, PrivateKey: otherKey}},
		}}},
		{"a certificate that is none", "certificate 0 of Certificates: x509: ", &Server{TLSConfig: &tls.Config{
			Certificates: []tls.Certificate{{Certificate: [][]byte{[]byte("junk")}, PrivateKey: otherKey}},
		}}},
		{"a key that is none", "a string cannot sign", &Server{TLSConfig: &tls.Config{
			Certificates: []tls.Certificate{{Certificate: withTLS().Certificates[0].Certificate, PrivateKey: "secret"}},
		}}},
		{"no cipher suite", "CipherSuites leaves no cipher suite", &Server{TLSConfig: &tls.Config{
			MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_AES_128_GCM_SHA256}, Certificates: withTLS().Certificates,
		}}},
		{"nil pages", "Pages is a nil *portluck.pointer", &Server{Pages: (*pointer)(nil)}},
		{"nil func of pages", "Pages is a nil http.HandlerFunc", &Server{Pages: http.HandlerFunc(nil)}},
		{"nil datagrams", "Packets is a nil *portluck.pointer", &Server{Packets: (*pointer)(nil)}},
		{"nil for the silent", "OnSilence is a nil *portluck.pointer", &Server{OnSilence: (*pointer)(nil)}},
		{"nil for others", "OnUnmatched is a nil *portluck.pointer", &Server{OnUnmatched: (*pointer)(nil)}},
		{"a nil func", "OnStall is a nil handlers.HandlerFunc", &Server{OnStall: handlers.HandlerFunc(nil)}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			// an address in use: to listen on it would be another error
			taken := must(net.Listen("tcp", "127.0.0.1:0"))
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

// A handler that serves nothing is an error, not a panic later.
func TestNothingToServe(t *testing.T) {
	t.Parallel()
	var noListener *net.TCPListener
	var noSocket *net.UDPConn
	pc := must(net.ListenPacket("udp", "127.0.0.1:0"))
	defer pc.Close()
	for name, tt := range map[string]struct {
		want  string
		serve func() error
	}{
		"Serve":                    {"Serve: the listener is nil", func() error { return (&Server{}).Serve(nil) }},
		"Serve, nil pointer":       {"Serve: the listener is nil", func() error { return (&Server{}).Serve(noListener) }},
		"ServePacket":              {"ServePacket: the socket or", func() error { return (&Server{}).ServePacket(nil, &udp.Server{}) }},
		"ServePacket, nil pointer": {"ServePacket: the socket or", func() error { return (&Server{}).ServePacket(noSocket, &udp.Server{}) }},
		"ServePacket, nil handler": {"or the handler is nil", func() error { return (&Server{}).ServePacket(pc, (*udp.Server)(nil)) }},
		"Carry":                    {"Carry: the backplane is nil", func() error { return (&Hub{}).Carry((*mesh.Backplane)(nil)) }},
		"udp":                      {"the socket is nil", func() error { return (&udp.Server{}).ServePacket(noSocket, nil) }},
		"callosum":                 {"the listener is nil", func() error { return (&callosum.Server{}).Serve(noListener) }},
		"mesh":                     {"the listener is nil", func() error { return (&mesh.Node{Name: "x"}).ListenOn(noListener) }},
		"tcp":                      {"the listener is nil", func() error { return (&tcp.Server{}).ListenOn(noListener) }},
		"no path of a Unix socket": {"the path is empty", func() error { return (&Server{Addr: "unix:"}).ListenAndServe() }},
		"datagrams on Unix sockets": {"Packets needs an Addr with a port", func() error {
			return (&Server{Addr: "unix:" + t.TempDir() + "/s", Packets: &udp.Server{}}).ListenAndServe()
		}},
		"no address": {"missing port", func() error { return (&Server{Addr: "nonsense"}).ListenAndServe() }},
		"no port":    {"invalid port", func() error { return (&Server{Addr: "127.0.0.1:-1"}).ListenAndServe() }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if err := tt.serve(); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

// A \Q at the end of the expression does not quote what the server puts around the expression.
func TestOriginRegexp(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]map[string]bool{
		`\Qa.example`: {"a.example": true, "xa.example": false, "a.example.com": false, "axexample": false},
		`a|ab`:        {"a": true, "ab": true, "abc": false},
	} {
		s := &Server{AllowOriginRegexp: regexp.MustCompile(text)}
		if err := s.check(); err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		allowed := s.checkOrigin()
		for host, want := range want {
			r := &http.Request{Header: http.Header{"Origin": {"https://" + host}}}
			if got := allowed(r); got != want {
				t.Errorf("%s allows %s: %t, want %t", text, host, got, want)
			}
		}
	}
}
