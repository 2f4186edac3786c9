package handlers

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
)

func TestHostsAnswer(t *testing.T) {
	const ipv4, mapped, ipv6, lan, unix = "127.0.0.1", "::ffff:127.8.9.1", "::1", "192.0.2.7", ""
	own := Hosts{"app.example", "*.Wild.example.", "192.0.2.7"}
	tests := []struct {
		name  string
		hosts Hosts
		local []string
		yes   []string
		no    []string
	}{
		{
			"loopback", nil,
			[]string{ipv4, mapped, ipv6},
			[]string{
				"", "localhost", "LOCALHOST:8100", "localhost.", "localhost.:8100", "localhost:", "a.localhost", "a.b.LocalHost.:1",
				"127.0.0.1", "127.0.0.1:8100", "127.0.0.1.", "203.0.113.9", "0.0.0.0:80", "[::1]", "[::1]:8100", "[::ffff:127.0.0.1]:80",
				"[fe80::1%25eth0]:8100", "[fe80::1%eth0]", "::1",
			},
			[]string{
				"evil.example", "evil.example:8100", "EVIL.example.", "localhost.evil.example", "evillocalhost", "localhost:80.evil.example",
				"user@localhost", "localhost@evil.example", "localhost, evil.example", "localhost..", ".localhost", "a..localhost", "[localhost]",
				"[127.0.0.1]", "[::1", "::1]", "[::1].evil.example", "127.0.0.1.evil.example", "127.1", "0x7f.0.0.1", "localhost/", " localhost",
				"localhost\x00", ":8100", "localhost:a", "%6cocalhost", "[::1]x:80", "app.example", "192.0.2.7.nip.io", "localhоst",
			},
		},
		{
			"told on loopback", own,
			[]string{ipv4, ipv6},
			[]string{"app.example", "APP.example.:443", "wild.example", "a.wild.example", "b.a.wild.example:1", "localhost", "[::1]", ""},
			[]string{"evil.example", "a.app.example", "evilwild.example", "wild.example.evil", "app.example.evil", "xapp.example"},
		},
		{
			"told beyond", own,
			[]string{lan, "2001:db8::1"},
			[]string{"app.example:8100", "wild.example", "localhost", "192.0.2.7", ""},
			[]string{"evil.example", "user@app.example"},
		},
		{"not told beyond", nil, []string{lan}, []string{"evil.example", "any:80", ""}, nil},
		{"all", Hosts{"*"}, []string{ipv4, lan}, []string{"evil.example", "localhost", "a!b"}, nil},
		{"a Unix socket", own, []string{unix}, []string{"evil.example", ""}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, local := range tt.local {
				addr, _ := netip.ParseAddr(local)
				for want, all := range map[bool][]string{true: tt.yes, false: tt.no} {
					for _, host := range all {
						r := &http.Request{Host: host}
						if got := tt.hosts.Answers(r, addr); got != want {
							t.Errorf("at %s: Answers(%q) = %t, want %t", local, host, got, want)
						}
						r = &http.Request{Host: "localhost", Header: http.Header{"Host": {host}}} // as for HTTP/2
						if got := tt.hosts.Answers(r, addr); got != want {
							t.Errorf("at %s: Answers(localhost with %q) = %t, want %t", local, host, got, want)
						}
					}
				}
			}
		})
	}
}

// Each request of HTTP is asked about.
func TestHostsAnswerWithoutGarbage(t *testing.T) {
	own, local := Hosts{"app.example"}, netip.MustParseAddr("127.0.0.1")
	for _, host := range []string{"localhost", "localhost:8100", "app.example:443", "127.0.0.1:80", "[::1]:80"} {
		r := &http.Request{Host: host}
		got := testing.AllocsPerRun(100, func() {
			if !own.Answers(r, local) {
				t.Errorf("%q is not answered to", host)
			}
		})
		if got != 0 {
			t.Errorf("%q costs %v allocations", host, got)
		}
	}
}

func TestHostsCheck(t *testing.T) {
	for _, entry := range []string{
		"app.example", "APP.example.", "*.app.example", "*", "myhost", "a_b", "xn--bcher-kva.example", "192.0.2.7", "::1", "[::1]", "*.local",
	} {
		if err := (Hosts{"localhost", entry}).Check(); err != nil {
			t.Errorf("Check(%q) = %v", entry, err)
		}
	}
	for entry, why := range map[string]string{
		"https://app.example": "no scheme", "app.example/": "no path", "/app": "no path", "app?x": "no path", "10.0.0.0/8": "no path",
		"app.example:8100": "no port", "[::1]:80": "no port", "localhost:": "no port", "bücher.example": "ASCII",
		"": "is a name", " ": "is a name", "app.example ": "is a name", ".app.example": "is a name", "a..b": "is a name", "*.": "is a name",
		"a*.example": "is a name", "*.*.example": "is a name", "**": "is a name", "me@app.example": "is a name", "127.1": "is a name",
		"app.example,b.example": "is a name", "[app.example]": "is a name", "[127.0.0.1]": "is a name", "a.example.1": "is a name",
		strings.Repeat("a.", 127) + "a": "is a name",
	} {
		err := (Hosts{"localhost", entry}).Check()
		if err == nil || !strings.Contains(err.Error(), why) || !strings.Contains(err.Error(), fmt.Sprintf("%q", entry)) {
			t.Errorf("Check(%q) = %v, want %q", entry, err, why)
		}
	}
}

// A net/http server behind the Handler, and its answer to a request for another name.
func TestHostsHandler(t *testing.T) {
	h := Hosts{"app.example"}.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "secret") }))
	for _, tt := range []struct {
		host  string
		local net.Addr
		code  int
	}{
		{"localhost:6060", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}, 200},
		{"app.example", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}, 200},
		{"evil.example", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}, 421},
		{"evil.example", &net.TCPAddr{IP: net.IPv6loopback}, 421},
		{"evil.example", &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1)}, 421},
		{"evil.example", &net.UnixAddr{Name: "x"}, 200},
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Host = tt.host
		r = r.WithContext(context.WithValue(t.Context(), http.LocalAddrContextKey, tt.local))
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		body := w.Body.String()
		if w.Code != tt.code || (body == "secret") != (tt.code == 200) {
			t.Errorf("%s at %v: %d %q, want %d", tt.host, tt.local, w.Code, body, tt.code)
		}
		if tt.code == 421 && (strings.TrimSpace(body) != HostAdvice || w.Header().Get("Connection") != "close") {
			t.Errorf("%s at %v: %q %v", tt.host, tt.local, body, w.Header())
		}
	}
}

func TestSameOrigin(t *testing.T) {
	for _, tt := range []struct {
		name, host string
		tls        bool
		origins    []string
		want       bool
	}{
		{"a program", "localhost", false, nil, true},
		{"the same", "localhost:8100", false, []string{"http://localhost:8100"}, true},
		{"in another case", "LocalHost:8100", false, []string{"HTTP://localhost:8100"}, true},
		{"the scheme's port", "app.example", false, []string{"http://app.example:80"}, true},
		{"the port of TLS", "app.example:443", true, []string{"https://app.example"}, true},
		{"IPv6", "[::1]:8100", false, []string{"http://[::1]:8100"}, true},
		{"IPv6 without a port", "[::1]:80", false, []string{"http://[::1]"}, true},
		{"another port", "localhost:8100", false, []string{"http://localhost:3000"}, false},
		{"another host", "localhost:8100", false, []string{"http://evil.example:8100"}, false},
		{"another scheme", "localhost:8100", true, []string{"http://localhost:8100"}, false},
		{"plain from secure", "localhost:8100", false, []string{"https://localhost:8100"}, true},
		{"a proxy that ends TLS", "chat.example.com", false, []string{"https://chat.example.com"}, true},
		{"a proxy that ends TLS, with its port", "chat.example.com:443", false, []string{"https://chat.example.com"}, true},
		{"a proxy that ends TLS, on another port", "chat.example.com:8443", false, []string{"HTTPS://Chat.example.com:8443"}, true},
		{"a proxy with another name", "backend:8100", false, []string{"https://chat.example.com"}, false},
		{"a proxy with a name below", "chat.example.com", false, []string{"https://x.chat.example.com"}, false},
		{"the port of the other scheme", "chat.example.com", false, []string{"https://chat.example.com:80"}, false},
		{"the port of the other scheme, plain", "chat.example.com", false, []string{"http://chat.example.com:443"}, false},
		{"https without a host", "x", false, []string{"https://"}, false},
		{"a file", "x", false, []string{"file://"}, false},
		{"a file, no Host", "", false, []string{"file://"}, false},
		{"a file and a path", "x", false, []string{"file:///x"}, false},
		{"an app's scheme", "localhost", false, []string{"capacitor://localhost"}, true},
		{"an app's scheme, to our TLS", "localhost", true, []string{"capacitor://localhost"}, true},
		{"an app's scheme and port", "LocalHost:8100", false, []string{"Ionic://localhost:8100"}, true},
		{"an app's scheme has no port of its own", "localhost:80", false, []string{"capacitor://localhost"}, false},
		{"an app's scheme has no port of TLS", "localhost", true, []string{"capacitor://localhost:443"}, false},
		{"an app's scheme, another host", "localhost", false, []string{"capacitor://evil.example"}, false},
		{"an extension", "abc", false, []string{"chrome-extension://abc"}, true},
		{"an extension, elsewhere", "localhost", false, []string{"chrome-extension://abc"}, false},
		{"a scheme of WebSocket", "x:8100", false, []string{"ws://x:8100"}, true},
		{"a scheme with signs", "[::1]:8100", false, []string{"a1+b-c.d://[::1]:8100"}, true},
		{"no scheme", "x", false, []string{"://x"}, false},
		{"no scheme but a host", "x", false, []string{"//x"}, false},
		{"a host only", "x", false, []string{"x"}, false},
		{"a scheme that is none", "x", false, []string{"1a://x"}, false},
		{"one slash", "x", false, []string{"http:/x"}, false},
		{"no slash", "x", false, []string{"http:x"}, false},
		{"a dot at the end of one", "x.", false, []string{"http://x"}, false},
		{"a dot at the end of both", "x.", false, []string{"http://x."}, true},
		{"a dot and a port", "x.:80", false, []string{"http://x."}, true},
		{"IPv6 in another form", "[::1]", false, []string{"http://[0:0:0:0:0:0:0:1]"}, false},
		{"IPv6 without brackets", "::1", false, []string{"http://::1"}, false},
		{"IPv6, another port", "[::1]:8100", false, []string{"http://[::1]"}, false},
		{"IPv6 of an app", "[::1]", false, []string{"app://[::1]"}, true},
		{"a query", "x", false, []string{"http://x?"}, false},
		{"a fragment", "x", false, []string{"http://x#"}, false},
		{"an escape", "x", false, []string{"http://%78"}, false},
		{"two in one", "x", false, []string{"http://x http://x"}, false},
		{"user information on both sides", "x@x", false, []string{"http://x@x"}, false},
		{"user information of an app", "x@x", false, []string{"app://x@x"}, false},
		{"a path on both sides", "x/", false, []string{"http://x/"}, false},
		{"two", "x", false, []string{"http://x", "http://x"}, false},
		{"null", "null", false, []string{"null"}, false},
		{"empty", "", false, []string{""}, false},
		{"no Host", "", false, []string{"http://"}, false},
		{"no Host but a port", "", false, []string{"http://:80"}, false},
		{"a path", "x", false, []string{"http://x/"}, false},
		{"user information", "x", false, []string{"http://x@x"}, false},
	} {
		r := &http.Request{Host: tt.host, Header: http.Header{}}
		if tt.origins != nil {
			r.Header["Origin"] = tt.origins
		}
		if tt.tls {
			r.TLS = &tls.ConnectionState{}
		}
		if got := SameOrigin(r); got != tt.want {
			t.Errorf("%s: SameOrigin() = %t, want %t", tt.name, got, tt.want)
		}
	}
}
