package portluck

import (
	"bufio"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// These are upstream's tests of origins, by their number in SEEDS.md part B1. A refused origin gets
// 403 here and 400 upstream.
func TestUpstreamOrigins(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, allow, method, origin string
		require                     bool
		status                      int
	}{
		{"O1", "*.example.com", "POST", "http://test.example.com", false, 200},
		{"O2", "*.example.com", "POST", "http://example.com", false, 200},
		{"O3", "*.example.com", "POST", "http://fail.com", false, 403},
		{"O4", "example.com", "POST", "http://www.example.com", false, 403},
		{"O5", "example.com", "POST", "http://example.com", false, 200},
		{"O7", "*.example.com", "OPTIONS", "http://test.example.com", false, 200},
		{"O8", "example.com", "POST", "http://example.com.co.nz", false, 403},
		{"O9", "*.example.com", "POST", "http://example.com.co.nz", false, 403},
		{"O10", "example.com:*", "POST", "http://example.com", false, 200},
		{"O11", "example.com:*", "POST", "http://example.com:4000", false, 200},
		{"O12", "example.com:*", "POST", "http://example.com.co.nz:4000", false, 403},
		{"O13", "example.com", "GET", "http://bad.com", false, 405},
		{"O14", "example.com", "POST", "", false, 200},
		{"O15", "example.com", "POST", "", true, 403},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			hub, e := record(nil)
			addr := serve(t, &Server{Hub: hub, AllowOrigin: []string{tt.allow}, RequireOrigin: tt.require})
			c := dial(t, addr)
			head := tt.method + " / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n"
			if tt.origin != "" {
				head += "Origin: " + tt.origin + "\r\n"
			}
			resp, _ := request(t, c, bufio.NewReader(c), head+"\r\n")
			if resp.StatusCode != tt.status {
				t.Errorf("status %d, want %d", resp.StatusCode, tt.status)
			}
			allowed := resp.Header.Get("Access-Control-Allow-Origin")
			if want := tt.status == 200; (allowed != "") != (want && tt.origin != "") || want && allowed != tt.origin {
				t.Errorf("Access-Control-Allow-Origin: %q", allowed)
			}
			if connected := len(e.all()) > 0 && strings.HasPrefix(e.all()[0], "connect"); connected &&
				(tt.status != 200 || tt.method != "POST") {
				t.Errorf("events %q", e.all())
			}
		})
	}
}

func TestOriginPatterns(t *testing.T) {
	tests := []struct {
		pattern string
		yes, no []string
	}{
		{
			"example.com",
			[]string{"http://example.com", "https://EXAMPLE.com", "example.com"},
			[]string{"http://www.example.com", "http://example.com:8080", "http://examplexcom", "null", "http://example.com.evil.com"},
		},
		{
			"*.example.com",
			[]string{"http://example.com", "http://www.example.com", "https://www.staging.example.com"},
			[]string{"http://evilexample.com", "http://evil-example.com", "http://xexamplexcom", "http://example.com.evil.com", "http://example.com:80", "http://example.com/"},
		},
		{
			"example.com:*",
			[]string{"http://example.com", "http://example.com:1"},
			[]string{"http://example.com:x", "http://www.example.com:1", "http://evilexample.com"},
		},
		{
			"foo*.com",
			[]string{"http://foobar.com", "http://foo-1.com"},
			[]string{"http://foo.com", "http://xfoobar.com", "http://foo.bar.com"},
		},
		{"*", []string{"http://any.where:1", "null", "file://", "https://", "app://-", "capacitor://localhost", "x"}, []string{""}},
		{"https://example.com", nil, []string{"https://example.com"}},
		{"localhost:8080", []string{"http://localhost:8080"}, []string{"http://localhost", "http://localhost:80801"}},
	}
	for _, tt := range tests {
		s := Server{AllowOrigin: []string{tt.pattern}}
		check := s.checkOrigin()
		for want, origins := range map[bool][]string{true: tt.yes, false: tt.no} {
			for _, origin := range origins {
				r := &http.Request{Header: http.Header{"Origin": {origin}}}
				if got := check(r); got != want {
					t.Errorf("%q allows %q: %t, want %t", tt.pattern, origin, got, want)
				}
			}
		}
	}
}

func ExampleServer_AllowOrigin() {
	s := Server{AllowOrigin: []string{"*.example.com", "localhost:*"}}
	check := s.checkOrigin()
	for _, origin := range []string{"https://www.example.com", "http://localhost:3000", "https://evilexample.com"} {
		fmt.Println(origin, check(&http.Request{Header: http.Header{"Origin": {origin}}}))
	}
	// Output:
	// https://www.example.com true
	// http://localhost:3000 true
	// https://evilexample.com false
}

// The same origins may talk to the server over HTTP, event streams and WebSocket.
func TestOriginsOfEveryKind(t *testing.T) {
	t.Parallel()
	const wsFields = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
	for _, tt := range []struct {
		allow        []string
		host, origin string
		ok           bool
	}{
		{nil, "chat.example.com", "https://chat.example.com", true}, // behind a proxy that ends TLS
		{nil, "chat.example.com:8443", "https://chat.example.com:8443", true},
		{nil, "chat.example.com", "http://chat.example.com", true},
		{nil, "localhost:8100", "capacitor://localhost:8100", true}, // a page in an app
		{nil, "localhost:8100", "capacitor://localhost", false},
		{nil, "chat.example.com", "https://evil.example", false},
		{nil, "chat.example.com", "file://", false},
		{nil, "chat.example.com", "null", false},
		{[]string{"*"}, "chat.example.com", "https://evil.example", true},
		{[]string{"*"}, "chat.example.com", "file://", true}, // ESP8266's WebSocket client
		{[]string{"*"}, "chat.example.com", "null", true},
		{[]string{"x.example", "*"}, "chat.example.com", "app://-", true},
		{[]string{"*.example"}, "chat.example.com", "file://", false},
	} {
		hub, _ := record(nil)
		addr := serve(t, &Server{
			Hub: hub, AllowOrigin: tt.allow, Hosts: []string{"chat.example.com"},
			RoomOf: func(r *http.Request) (string, bool) { return "room", r.Header.Get("Accept") != "" },
		})
		for name, first := range map[string]string{
			"POST": "POST / HTTP/1.1\r\nContent-Length: 0\r\n",
			"SSE":  "GET / HTTP/1.1\r\nAccept: text/event-stream\r\n",
			"WS":   "GET / HTTP/1.1\r\n" + wsFields,
		} {
			c := dial(t, addr)
			send(t, c, first+"Host: "+tt.host+"\r\nOrigin: "+tt.origin+"\r\n\r\n")
			resp := must(http.ReadResponse(bufio.NewReader(c), nil))
			if ok := resp.StatusCode < 300; ok != tt.ok {
				t.Errorf("%s to %s of %s with %q: %d", name, tt.host, tt.origin, tt.allow, resp.StatusCode)
			}
			if got := resp.Header.Get("Access-Control-Allow-Origin"); tt.ok && name != "WS" && got != tt.origin {
				t.Errorf("%s to %s of %s with %q: allowed is %q", name, tt.host, tt.origin, tt.allow, got)
			}
		}
	}
}
