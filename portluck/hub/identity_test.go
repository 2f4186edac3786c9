package hub

import (
	"context"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"unsafe"

	"github.com/portluck/portluck/handlers"
)

// An idle client takes little memory.
func TestSizes(t *testing.T) {
	if got := unsafe.Sizeof(Client{}); got > 80 {
		t.Errorf("a Client is %d bytes, want at most 80", got)
	}
	if got := unsafe.Sizeof(membership{}); got > 48 {
		t.Errorf("a membership is %d bytes, want at most 48", got)
	}
}

// The Info of a client like the one before takes no memory.
func TestSharedIdentityIsFree(t *testing.T) {
	info := raw(netip.MustParseAddrPort("127.0.0.1:80"), netip.MustParseAddrPort("127.0.0.2:81"))
	s := Bind(&Hub{}, nil, false).NewSession(&info, &sink{room: -1})
	if n := testing.AllocsPerRun(100, func() { s.SetInfo(&info) }); n > 0 {
		t.Errorf("SetInfo makes %v allocations", n)
	}
}

func TestCompactAddresses(t *testing.T) {
	for addr, want := range map[string]bool{
		"1.2.3.4:5": true, "[2001:db8::1]:65535": true, "[::]:0": true, "0.0.0.0:0": true, "[::ffff:1.2.3.4]:5": true, "[fe80::1%eth0]:7": false,
	} {
		a := netip.MustParseAddrPort(addr)
		if c := compact(a); c.isValid() != want || want && c.addrPort() != a {
			t.Errorf("compact(%v) = %v, %t, want %t", a, c.addrPort(), c.isValid(), want)
		}
	}
	if compact(netip.AddrPort{}).isValid() {
		t.Error("no address has a compact form")
	}
}

func raw(local, remote netip.AddrPort) handlers.Info {
	return handlers.Info{Protocol: handlers.ProtocolTCP, Local: local, Remote: remote}
}

// Info returns the same for every form in which the hub keeps it.
func TestIdentities(t *testing.T) {
	const head = "GET /path?q HTTP/1.1\r\nHost: example.com\r\nCookie: a=b\r\n\r\n"
	keyed := func(key string) string {
		return strings.Replace(head, "Cookie", "sec-websocket-KEY: "+key+"\r\nCookie", 1)
	}
	local, remote := netip.MustParseAddrPort("127.0.0.1:80"), netip.MustParseAddrPort("127.0.0.2:81")
	request := func() *http.Request {
		r, _ := http.NewRequest(http.MethodGet, "/path?q", http.NoBody)
		r.Host, r.RemoteAddr = "example.com", remote.String()
		r.Header.Set("Cookie", "a=b")
		return r
	}
	ctx := context.WithValue(context.Background(), http.ServerContextKey, "a value")
	tests := []struct {
		name         string
		info         handlers.Info
		shared, same bool
	}{
		{name: "raw", info: raw(local, remote), shared: true},
		{name: "Unix socket", info: raw(netip.AddrPort{}, netip.AddrPort{}), shared: true},
		{name: "zone", info: raw(local, netip.MustParseAddrPort("[fe80::1%eth0]:7")), same: true},
		{name: "WebSocket", info: handlers.Info{Protocol: "websocket", Local: local, Remote: remote, Request: request(), Head: keyed("a")}, shared: true},
		{name: "context", info: handlers.Info{Protocol: "websocket", Local: local, Remote: remote, Request: request().WithContext(ctx), Head: head}, same: true},
		{name: "no head", info: handlers.Info{Protocol: "websocket", Local: local, Remote: remote, Request: request()}, same: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := Bind(&Hub{}, nil, false)
			c := &Client{remote: compact(tt.info.Remote)}
			c.setInfo(b, &tt.info)
			got := c.Info()
			if same := got == &tt.info; same != tt.same {
				t.Errorf("the info was kept as it is: %t, want %t", same, tt.same)
			}
			if got.Protocol != tt.info.Protocol || got.Local != tt.info.Local || got.Remote != tt.info.Remote ||
				got.Head != head && tt.info.Head != got.Head || c.Remote() != tt.info.Remote || c.Local() != tt.info.Local {
				t.Errorf("Info() = %+v, want %+v", got, tt.info)
			}
			checkRequest(t, got.Request, tt.info.Request)
			checkRequest(t, c.Request(), tt.info.Request)
			other := &Client{remote: compact(tt.info.Remote)}
			if tt.info.Head != "" {
				tt.info.Head = keyed("b")
			}
			other.setInfo(b, &tt.info)
			if shared := other.who.Load() == c.who.Load(); shared != tt.shared {
				t.Errorf("shared with another client: %t, want %t", shared, tt.shared)
			}
		})
	}
}

func checkRequest(t *testing.T, got, want *http.Request) {
	t.Helper()
	if got == nil || want == nil {
		if got != want {
			t.Errorf("request %v, want %v", got, want)
		}
		return
	}
	if got.Method != want.Method || got.URL.String() != want.URL.String() || got.Host != want.Host ||
		got.RemoteAddr != want.RemoteAddr || got.Header.Get("Cookie") != want.Header.Get("Cookie") || got.Body == nil {
		t.Errorf("request %+v, want %+v", got, want)
	}
}

// Addresses that a proxy makes up do not fill the memory.
func TestIdentitiesAreBounded(t *testing.T) {
	b := Bind(&Hub{}, nil, false)
	for i := range 2 * maxIdentities {
		info := raw(netip.AddrPortFrom(netip.IPv4Unspecified(), uint16(i+1)), netip.AddrPort{})
		c := &Client{}
		if c.setInfo(b, &info); c.Info().Local != info.Local {
			t.Errorf("Local = %v, want %v", c.Info().Local, info.Local)
		}
	}
	if got := len(b.hub.identities.all); got != maxIdentities {
		t.Errorf("%d identities are shared, want %d", got, maxIdentities)
	}
}

func TestAroundKey(t *testing.T) {
	tests := []struct{ name, head, before, after string }{
		{"none", "", "", ""},
		{"no key", "GET / HTTP/1.1\r\nA: b\r\n\r\n", "GET / HTTP/1.1\r\nA: b\r\n\r\n", ""},
		{"key", "GET / HTTP/1.1\r\nSec-Websocket-key:c\r\nA: b\r\n\r\n", "GET / HTTP/1.1\r\n", "A: b\r\n\r\n"},
		{"last, bare LF", "GET / HTTP/1.1\nSEC-WEBSOCKET-KEY: c\n\n", "GET / HTTP/1.1\n", "\n"},
		{"name within", "GET / HTTP/1.1\r\nX-Sec-WebSocket-Key: c\r\n\r\n", "GET / HTTP/1.1\r\nX-Sec-WebSocket-Key: c\r\n\r\n", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if before, after := around(tt.head); before != tt.before || after != tt.after {
				t.Errorf("around() = %q, %q, want %q, %q", before, after, tt.before, tt.after)
			}
		})
	}
}
