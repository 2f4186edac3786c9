package portluck

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"unsafe"

	"github.com/portluck/portluck/handlers"
)

// What a client costs while it is idle.
func TestSizes(t *testing.T) {
	if got := unsafe.Sizeof(Client{}); got > 80 {
		t.Errorf("a Client is %d bytes, want at most 80", got)
	}
	if got := unsafe.Sizeof(seat{}); got > 48 {
		t.Errorf("a seat is %d bytes, want at most 48", got)
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

// Whatever form it is kept in, the info of a client is the same.
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
		info         Info
		shared, same bool
	}{
		{name: "raw", info: newInfo(local, remote), shared: true},
		{name: "Unix socket", info: newInfo(netip.AddrPort{}, netip.AddrPort{}), shared: true},
		{name: "zone", info: newInfo(local, netip.MustParseAddrPort("[fe80::1%eth0]:7")), same: true},
		{name: "WebSocket", info: Info{Protocol: "websocket", Local: local, Remote: remote, Request: request(), Head: keyed("a")}, shared: true},
		{name: "context", info: Info{Protocol: "websocket", Local: local, Remote: remote, Request: request().WithContext(ctx), Head: head}, same: true},
		{name: "no head", info: Info{Protocol: "websocket", Local: local, Remote: remote, Request: request()}, same: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h, l := &Hub{}, newLog(nil)
			c := &Client{remote: compact(tt.info.Remote)}
			c.identify(h, l, &tt.info)
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
			other.identify(h, l, &tt.info)
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

// What is known of a client can be asked for at any time, whatever the driver has kept of it.
func TestInfoOfDrivenClients(t *testing.T) {
	t.Parallel()
	hub, e := record(nil)
	look := func(when string, c *Client) {
		info := c.Info()
		path, secure := "", ""
		if r := c.Request(); r != nil {
			path = " " + r.URL.Path + " " + info.Request.URL.Path
			if r.RemoteAddr != c.Remote().String() || (r.TLS != nil) != (c.TLS() != nil) {
				path += " from somewhere else"
			}
		}
		if state := c.TLS(); state != nil {
			secure = " " + state.ServerName + " " + info.TLS.ServerName
		}
		if info.Protocol != c.Protocol() || info.Remote != c.Remote() || info.Local != c.Local() || !info.Remote.IsValid() {
			path += " of somebody else"
		}
		e.note(when + " " + c.Scheme() + secure + path)
	}
	hub.OnConnect = func(_ *Writer, c *Client) { look("connect", c) }
	hub.OnMessage = func(_ Message, _ *Writer, c *Client) { look("message", c) }
	hub.OnDisconnect = func(c *Client, _ error) { look("disconnect", c) }
	addr := serve(t, &Server{Hub: hub, TLSConfig: withTLS()})
	check := func(want string) {
		t.Helper()
		e.want(t, "connect "+want, "message "+want, "disconnect "+want)
		e.mu.Lock()
		e.seen = nil
		e.mu.Unlock()
	}
	talk(t, addr, "hello\n")
	check("tcp")
	secure := tls.Client(dial(t, addr), &tls.Config{InsecureSkipVerify: true, ServerName: "example.test"})
	send(t, secure, "hello\n")
	secure.Close()
	check("tls example.test example.test")
	for scheme, want := range map[string]string{"ws": "ws /a /a", "wss": "wss localhost localhost /a /a"} {
		_, port, _ := net.SplitHostPort(addr)
		c := dialWS(t, scheme+"://localhost:"+port+"/a?b")
		c.send(t, Text, "hello")
		c.close(t)
		check(want)
	}
}

// Addresses that a proxy makes up do not fill the memory.
func TestIdentitiesAreBounded(t *testing.T) {
	h, l := &Hub{}, newLog(nil)
	for i := range 2 * maxIdentities {
		info := newInfo(netip.AddrPortFrom(netip.IPv4Unspecified(), uint16(i+1)), netip.AddrPort{})
		c := &Client{}
		if c.identify(h, l, &info); c.Info().Local != info.Local {
			t.Errorf("Local = %v, want %v", c.Info().Local, info.Local)
		}
	}
	if got := len(h.identities.all); got != maxIdentities {
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

var _ handlers.Detacher = (*conn)(nil)
