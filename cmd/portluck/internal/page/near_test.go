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
		{"a Unix socket", "", "", "localhost", "", false},
	} {
		r := httptest.NewRequest(http.MethodGet, "/connections", nil)
		r.Host, r.RemoteAddr = tt.host, "@"
		var local net.Addr = &net.UnixAddr{Name: "x"}
		if tt.remote != "" {
			r.RemoteAddr = netip.AddrPortFrom(netip.MustParseAddr(tt.remote), 1).String()
			local = net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(tt.local), 2))
		}
		if tt.header != "" {
			r.Header.Set(tt.header, "for=192.0.2.3")
		}
		if got := Near(r.WithContext(context.WithValue(t.Context(), http.LocalAddrContextKey, local))); got != tt.want {
			t.Errorf("%s: Near() = %t, want %t", tt.name, got, tt.want)
		}
	}
}
