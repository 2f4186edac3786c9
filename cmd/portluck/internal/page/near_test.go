package page

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
)

func TestNear(t *testing.T) {
	here, there := "127.0.0.1", "192.0.2.1"
	for _, tt := range []struct {
		name, remote, local, host, header string
		want                              bool
	}{
		{"this machine", here, here, "localhost:8100", "", true},
		{"by IPv6", "::1", "::1", "[::1]:8100", "", true},
		{"IPv4 in IPv6", "::ffff:127.0.0.1", "::ffff:127.0.0.1", "127.0.0.1", "", true},
		{"another machine", there, "192.0.2.2", "192.0.2.2", "", false},
		{"only its remote", here, there, "localhost", "", false},
		{"only its local", there, here, "localhost", "", false},
		{"this machine by another address", there, there, "192.0.2.1", "", false},
		{"a proxy that says so", here, here, "localhost", "X-Forwarded-For", false},
		{"a proxy that says so too", here, here, "localhost", "Forwarded", false},
		{"a proxy that only passes the name on", here, here, "app.example", "", false},
		{"a proxy that says it otherwise", here, here, "localhost", "X-Forwarded-Proto", false},
		{"a tunnel that was asked for an address", here, here, "203.0.113.5:8100", "", false},
		{"a tunnel that was asked for one of IPv6", here, here, "[2001:db8::1]", "", false},
		{"every address", here, here, "0.0.0.0:8100", "", false},
		{"no host", here, here, "", "", false},
		{"below localhost", here, here, "app.localhost:8100", "", true},
		{"HTTP/1.0, which nginx speaks", here, here, "localhost", "1.0", false},
		{"HTTP/2", here, here, "localhost", "2.0", true},
		{"a Unix socket", "", "", "localhost", "", false},
	} {
		r := httptest.NewRequest(http.MethodGet, "/connections", nil)
		r.Host, r.RemoteAddr = tt.host, "@"
		var local net.Addr = &net.UnixAddr{Name: "x"}
		if tt.remote != "" {
			r.RemoteAddr = netip.AddrPortFrom(netip.MustParseAddr(tt.remote), 1).String()
			local = net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(tt.local), 2))
		}
		if version := tt.header; version == "1.0" || version == "2.0" {
			r.Proto, r.ProtoMajor, r.ProtoMinor = "HTTP/"+version, int(version[0]-'0'), 0
		} else if tt.header != "" {
			r.Header.Set(tt.header, "for=192.0.2.3")
		}
		if got := Near(r.WithContext(context.WithValue(t.Context(), http.LocalAddrContextKey, local))); got != tt.want {
			t.Errorf("%s: Near() = %t, want %t", tt.name, got, tt.want)
		}
	}
}
