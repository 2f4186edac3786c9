package portluck

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"github.com/portluck/portluck/handlers"
)

// secretRoom returns a server that sends a secret, which is in the history of its room, to every
// kind of client.
func secretRoom(hosts ...string) (*Server, *events) {
	hub, e := record(echo)
	hub.RoomOptions = func(string) RoomOptions { return RoomOptions{History: 10} }
	hub.Room("room").Publish(TextMessage("secret"))
	s := &Server{
		Hub: hub, TLSConfig: withTLS(), Hosts: hosts,
		RoomOf: func(*http.Request) (string, bool) { return "room", true },
		Pages:  http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "secret page") }),
	}
	return mountEcho(s), e
}

const upgradeTo = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"

// hostRequests are requests that a page can make its browser send, and some that only a program
// sends. HOST stands for a name.
var hostRequests = []struct {
	name, raw string
	status    int // for a name of ours
}{
	{"a page", "GET / HTTP/1.1\r\nHost: HOST\r\n\r\n", 200},
	{"its head", "HEAD / HTTP/1.1\r\nHost: HOST\r\n\r\n", 200},
	{"HTTP/1.0", "GET / HTTP/1.0\r\nHost: HOST\r\n\r\n", 200},
	{"an absolute target", "GET http://HOST/ HTTP/1.1\r\nHost: localhost\r\n\r\n", 200},
	{"a target without a host", "GET http:/// HTTP/1.1\r\nHost: HOST\r\n\r\n", 200},
	{"a long poll", "GET /?since= HTTP/1.1\r\nHost: HOST\r\n\r\n", 200},
	{"an event stream", "GET / HTTP/1.1\r\nHost: HOST\r\nAccept: text/event-stream\r\n\r\n", 200},
	{"of the same origin", "GET /?since= HTTP/1.1\r\nHost: HOST\r\nOrigin: http://HOST\r\n\r\n", 200},
	{"a POST", "POST / HTTP/1.1\r\nHost: HOST\r\nOrigin: http://HOST\r\nContent-Length: 1\r\n\r\nx", 200},
	{"a PUT in chunks", "PUT / HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n", 200},
	{"OPTIONS", "OPTIONS / HTTP/1.1\r\nHost: HOST\r\nOrigin: http://HOST\r\nAccess-Control-Request-Method: PUT\r\n\r\n", 200},
	{"OPTIONS of all", "OPTIONS * HTTP/1.1\r\nHost: HOST\r\n\r\n", 200},
	{"what is mounted", "DELETE /api/a HTTP/1.1\r\nHost: HOST\r\n\r\n", 200},
	{"a mounted POST", "POST /api/a HTTP/1.1\r\nHost: HOST\r\nOrigin: http://HOST\r\nContent-Length: 1\r\n\r\nx", 200},
	{"a preflight", "OPTIONS /api/a HTTP/1.1\r\nHost: HOST\r\nOrigin: http://HOST\r\nAccess-Control-Request-Method: PUT\r\n\r\n", 200},
	{"CONNECT", "CONNECT HOST:80 HTTP/1.1\r\nHost: HOST\r\n\r\n", 405},
	{"a WebSocket", "GET / HTTP/1.1\r\nHost: HOST\r\nOrigin: http://HOST\r\n" + upgradeTo + "\r\n", 101},
	{"a WebSocket's absolute target", "GET http://HOST/ HTTP/1.1\r\nHost: localhost\r\n" + upgradeTo + "\r\n", 101},
	{"half a handshake", "GET / HTTP/1.1\r\nHost: HOST\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", 426},
}

// askFor sends a request for the name host on c. It checks that the answer fits: with ours, the
// answer for a name of the server, and otherwise a refusal.
func askFor(t *testing.T, c io.ReadWriter, raw, host string, want int) {
	t.Helper()
	r := bufio.NewReader(c)
	raw = strings.ReplaceAll(raw, "HOST", host)
	send(t, c, raw)
	method, _, _ := strings.Cut(raw, " ")
	resp, err := http.ReadResponse(r, &http.Request{Method: method})
	if err != nil {
		t.Fatalf("for %q: %v", host, err)
	}
	if resp.StatusCode != want {
		t.Errorf("for %q: status %d, want %d", host, resp.StatusCode, want)
	}
	if want != http.StatusMisdirectedRequest {
		return
	}
	defer resp.Body.Close() // Close reads to the end, which an event stream lacks
	body, err := io.ReadAll(resp.Body)
	if err != nil || method != "HEAD" && !strings.Contains(string(body), "--host") || strings.Contains(string(body), "secret") ||
		resp.Header.Get("Access-Control-Allow-Origin") != "" || !resp.Close {
		t.Errorf("for %q: %q, %v, %v", host, body, err, resp.Header)
	}
}

// If a stranger's page asks a server on loopback by a name of the stranger, every request gets 421:
// no page, no message, no client.
func TestHosts(t *testing.T) {
	t.Parallel()
	s, e := secretRoom("app.example")
	addr := serve(t, s)
	refused := 0
	ways := map[string]func(t *testing.T) net.Conn{
		"plain":        func(t *testing.T) net.Conn { return dial(t, addr) },
		"TLS":          func(t *testing.T) net.Conn { return dialTLS(t, addr, "http/1.1") },
		"without ALPN": func(t *testing.T) net.Conn { return dialTLS(t, addr) },
		"a second request": func(t *testing.T) net.Conn {
			c := dial(t, addr)
			if resp, _ := request(t, c, bufio.NewReader(c), "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"); resp.StatusCode != 200 {
				t.Fatal(resp.Status)
			}
			return c
		},
	}
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			for _, tt := range hostRequests {
				t.Run(tt.name, func(t *testing.T) {
					raw := tt.raw
					if strings.Contains(name, "TLS") || strings.Contains(name, "ALPN") {
						raw = strings.ReplaceAll(raw, "Origin: http:", "Origin: https:")
					}
					for host, want := range map[string]int{
						"evil.example": 421, "EVIL.localhost.example.": 421, "A.LOCALHOST.": tt.status, "[::1]": tt.status, "App.example": tt.status,
					} {
						c := way(t)
						askFor(t, c, raw, host, want)
						c.Close()
						if want == http.StatusMisdirectedRequest {
							refused++
						}
					}
				})
			}
		})
	}
	eventually(t, "each refusal is told", func() bool {
		n := 0
		for _, seen := range e.all() {
			if strings.HasPrefix(seen, "error ") && strings.HasSuffix(seen, handlers.ErrHost.Error()) {
				n++
			}
		}
		return n == refused
	})
}

// HTTP/2 requests, which may have two names, are checked too.
func TestHostsHTTP2(t *testing.T) {
	t.Parallel()
	s, _ := secretRoom()
	addr := serve(t, s)
	for _, scheme := range []string{"http", "https"} {
		var protocols http.Protocols
		protocols.SetUnencryptedHTTP2(scheme == "http")
		protocols.SetHTTP2(scheme == "https")
		transport := &http.Transport{Protocols: &protocols, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
		t.Cleanup(transport.CloseIdleConnections)
		for _, method := range []string{"GET", "POST", "OPTIONS"} {
			for _, path := range []string{"/", "/?since=", "/api/a"} {
				for host, want := range map[string]int{"evil.example": 421, "evil.example:8100": 421, "localhost:1": 200, "": 200} {
					r := must(http.NewRequestWithContext(t.Context(), method, scheme+"://"+addr+path, nil))
					r.Host = host
					resp, err := transport.RoundTrip(r)
					if err != nil {
						t.Fatal(err)
					}
					body, _ := io.ReadAll(resp.Body)
					resp.Body.Close()
					if resp.StatusCode != want || resp.ProtoMajor != 2 || want == 421 && strings.Contains(string(body), "secret") {
						t.Errorf("%s %s %s for %q: %s %d %q, want %d", scheme, method, path, host, resp.Proto, resp.StatusCode, body, want)
					}
				}
			}
		}
	}
}

// What counts is the local address of the connection, not the address that the server listens on.
func TestHostsByAddress(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "s")
	behind := []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
	for _, tt := range []struct {
		name, network, listen, dial, first string
		proxy                              []netip.Prefix
		hosts                              []string
		want                               int
	}{
		{"IPv4", "tcp", "127.0.0.1:0", "127.0.0.1", "", nil, nil, 421},
		{"another of loopback", "tcp", "127.0.0.9:0", "127.0.0.9", "", nil, nil, 421},
		{"IPv6", "tcp", "[::1]:0", "::1", "", nil, nil, 421},
		{"all addresses", "tcp", ":0", "127.0.0.1", "", nil, nil, 421},
		{"all addresses by IPv6", "tcp", ":0", "::1", "", nil, nil, 421},
		{"all addresses of IPv4", "tcp4", "0.0.0.0:0", "127.0.0.1", "", nil, nil, 421},
		{"any name", "tcp", "127.0.0.1:0", "127.0.0.1", "", nil, []string{"*"}, 200},
		{"a name that was told", "tcp", "127.0.0.1:0", "127.0.0.1", "", nil, []string{"x", "*.example"}, 200},
		{"a Unix socket", "unix", socket, "", "", nil, nil, 200},
		{"a proxy beyond", "tcp", "127.0.0.1:0", "127.0.0.1", "PROXY TCP4 192.0.2.1 192.0.2.2 1 80\r\n", behind, nil, 200},
		{"a proxy beyond, told", "tcp", "127.0.0.1:0", "127.0.0.1", "PROXY TCP4 192.0.2.1 192.0.2.2 1 80\r\n", behind, []string{"x"}, 421},
		{"a proxy here", "tcp", "127.0.0.1:0", "127.0.0.1", "PROXY TCP4 192.0.2.1 127.0.0.1 1 80\r\n", behind, nil, 421},
		{"a proxy here by IPv6", "tcp", "127.0.0.1:0", "127.0.0.1", "PROXY TCP6 2001:db8::1 ::ffff:127.0.0.1 1 80\r\n", behind, nil, 421},
		{"a proxy itself", "tcp", "127.0.0.1:0", "127.0.0.1", "PROXY UNKNOWN\r\n", behind, nil, 421},
	} {
		for _, wrapped := range []bool{false, true} {
			t.Run(fmt.Sprint(tt.name, wrapped), func(t *testing.T) {
				l, err := net.Listen(tt.network, tt.listen)
				if err != nil && strings.Contains(tt.listen, "::1") {
					return // no IPv6 here
				}
				if err != nil {
					t.Fatal(err)
				}
				s, _ := secretRoom(tt.hosts...)
				s.ProxyFrom = tt.proxy
				to := l.Addr().String()
				if tt.network != "unix" {
					_, port, _ := net.SplitHostPort(to)
					to = net.JoinHostPort(tt.dial, port)
				}
				if wrapped {
					// hides the listener's type, so that its connections are read, not peeked at
					l = struct{ net.Listener }{l}
				}
				serveOn(t, s, l)
				c, err := net.Dial(strings.TrimRight(tt.network, "46"), to)
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				send(t, c, tt.first)
				askFor(t, c, "GET /?since= HTTP/1.1\r\nHost: HOST\r\n\r\n", "evil.example", tt.want)
			})
		}
	}
}

// A page of the server's own host has the same origin on every kind of listener, unless the page
// came in the clear and its request comes over TLS.
func TestSameOriginByListener(t *testing.T) {
	t.Parallel()
	for _, wrapped := range []bool{false, true} {
		s, _ := secretRoom()
		l := must(net.Listen("tcp", "127.0.0.1:0"))
		addr := l.Addr().String()
		if wrapped {
			l = struct{ net.Listener }{l}
		}
		serveOn(t, s, l)
		for scheme, secure := range map[string]int{"https": 200, "http": 403, "ionic": 200} {
			raw := "GET /?since= HTTP/1.1\r\nHost: HOST\r\nOrigin: " + scheme + "://HOST\r\n\r\n"
			askFor(t, dial(t, addr), raw, "localhost", 200)
			askFor(t, dialTLS(t, addr), raw, "localhost", secure)
		}
	}
}

// AllowOrigin lists the pages that may send requests, and Hosts the names that requests may ask
// for. Neither replaces the other.
func TestHostsBesideOrigins(t *testing.T) {
	t.Parallel()
	s, _ := secretRoom()
	s.AllowOrigin = []string{"app.example", "evil.example"}
	addr := serve(t, s)
	for _, tt := range hostRequests {
		askFor(t, dial(t, addr), tt.raw, "evil.example", http.StatusMisdirectedRequest)
	}
}

func TestHostsMistakes(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"https://app.example", "app.example/path", "app.example:80", ""} {
		s := &Server{Addr: "127.0.0.1:0", Hosts: []string{"localhost", name}}
		want := fmt.Sprintf("portluck: Hosts: %q: it ", name)
		if err := s.ListenAndServe(); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("ListenAndServe() = %v, want %s...", err, want)
		}
		if err := s.Serve(must(net.Listen("tcp", "127.0.0.1:0"))); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("Serve() = %v, want %s...", err, want)
		}
		s.Close()
	}
}
