package portluck

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/matchers"
	"github.com/soheilhy/cmux"
)

// A head is a request whose head comes in two pieces, cut at |.
type head struct{ name, send, status, ends string }

// heads has every kind of request, cut at every kind of place.
var heads = []head{
	{"GET", "GET / HTTP/1.1\r\nHost: localhost\r\n|Connection: close\r\n\r\n", "405", ""},
	{"GET, in the target", "GET /a|bc HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", "405", ""},
	{"GET, in the version", "GET / HTTP|/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", "405", ""},
	{"GET, in a field", "GET / HTTP/1.1\r\nHost: local|host\r\nConnection: close\r\n\r\n", "405", ""},
	{"GET, before its end", "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r|\n", "405", ""},
	{"GET of HTTP/1.0", "GET / HTTP/1.0\r\nHost: localhost\r\n|\r\n", "405", ""},
	{"HEAD", "HEAD / HTTP/1.1\r\nHost: localhost\r\n|Connection: close\r\n\r\n", "405", ""},
	{"POST", "POST / HTTP/1.1\r\nHost: localhost\r\n|Connection: close\r\nContent-Length: 2\r\n\r\nhi", "200", "hi\n"},
	{"an unknown method", "FOO / HTTP/1.1\r\nHost: localhost\r\n|Connection: close\r\n\r\n", "405", ""},
	{"WebSocket", "GET / HTTP/1.1\r\nHost: localhost\r\n|" + upgradeTo + "\r\n\x88\x80\x00\x00\x00\x00", "101", "\x88\x00"},
	{"WebSocket, in its fields", "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n|" + upgradeTo[:len(upgradeTo)-2] +
		"\r\n\r\n\x88\x80\x00\x00\x00\x00", "101", "\x88\x00"},
}

// ways are the ways on which a request reaches a server. Each prepares a server and connects to it.
var ways = []struct {
	name    string
	set     func(s *Server)
	connect func(t *testing.T, addr string) net.Conn
}{
	{"plain", nil, func(t *testing.T, addr string) net.Conn { return dial(t, addr) }},
	{"goroutines", func(s *Server) { s.Goroutines = true }, func(t *testing.T, addr string) net.Conn { return dial(t, addr) }},
	{"behind a proxy", func(s *Server) { s.ProxyFrom = fromLoopback }, func(t *testing.T, addr string) net.Conn {
		c := dial(t, addr)
		send(t, c, proxyHead)
		return c
	}},
	{"TLS without ALPN", nil, func(t *testing.T, addr string) net.Conn { return dialTLS(t, addr) }},
	{"second", nil, func(t *testing.T, addr string) net.Conn { return second(t, dial(t, addr), firstPost) }},
	{"second after a page", nil, func(t *testing.T, addr string) net.Conn { return second(t, dial(t, addr), firstPage) }},
	{"TLS without ALPN, second", nil, func(t *testing.T, addr string) net.Conn {
		return second(t, dialTLS(t, addr), firstPost)
	}},
	{"TLS with ALPN", nil, func(t *testing.T, addr string) net.Conn { return dialTLS(t, addr, "http/1.1") }},
	{"TLS with ALPN, second", nil, func(t *testing.T, addr string) net.Conn {
		return second(t, dialTLS(t, addr, "http/1.1"), firstPost)
	}},
	{"behind a proxy, second", func(s *Server) { s.ProxyFrom = fromLoopback }, func(t *testing.T, addr string) net.Conn {
		c := dial(t, addr)
		send(t, c, proxyHead)
		return second(t, c, firstPost)
	}},
	{"beside a route for a field", routed(matchers.HTTP1Header("Host", "other")), func(t *testing.T, addr string) net.Conn {
		return dial(t, addr)
	}},
	{"beside a route of cmux", routed(matchers.FromCmux(cmux.HTTP1HeaderField("Host", "other"))), func(t *testing.T, addr string) net.Conn {
		return dial(t, addr)
	}},
}

// These are first requests on a connection, and their answers.
var (
	firstPost = [2]string{"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nfirst", "first\n"}
	firstPage = [2]string{"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "Allowed methods are POST or PUT."}
)

// second sends a first request on c, reads its answer and returns c.
func second(t *testing.T, c net.Conn, first [2]string) net.Conn {
	t.Helper()
	send(t, c, first[0])
	answer, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	if body, err := io.ReadAll(answer.Body); string(body) != first[1] || err != nil {
		t.Fatalf("read %q, %v", body, err)
	}
	return c
}

// routed gives the server a route for m.
func routed(m matchers.Matcher) func(s *Server) {
	return func(s *Server) { s.HandleFunc("other", m, func(c net.Conn) { _, _ = io.WriteString(c, "other") }) }
}

// A client is one that has sent the first piece of a head.
type client struct {
	net.Conn
	head
	name string
	of   *Server
}

// everyWay connects a client for each head and each way, over connections that are peeked at and
// over ones that are read, and sends the first piece of the head. All clients then wait at the same
// time, so that the test takes no longer than with one.
func everyWay(t *testing.T, server func() *Server) (all []client) {
	t.Helper()
	begin := func(name string, s *Server, connect func() net.Conn) {
		for _, h := range heads {
			c := client{connect(), h, name + ", " + h.name, s}
			first, _, _ := strings.Cut(h.send, "|")
			send(t, c, first)
			all = append(all, c)
		}
	}
	for _, way := range ways {
		for kind, wrap := range map[string]func(net.Listener) net.Listener{
			"peeked": func(l net.Listener) net.Listener { return l },
			"read":   func(l net.Listener) net.Listener { return hiding{l} },
		} {
			s, l := server(), listen(t)
			s.TLSConfig, s.Goroutines = withTLS(), byGoroutines
			if way.set != nil {
				way.set(s)
			}
			allowHandshakes(t, s)
			serveOn(t, s, wrap(l))
			begin(way.name+", "+kind, s, func() net.Conn { return way.connect(t, l.Addr().String()) })
		}
	}
	s, l := server(), must(Listen("unix:" + t.TempDir() + "/sock"))[0]
	serveOn(t, s, l)
	begin("Unix", s, func() net.Conn { return dialUnix(t, l) })
	return all
}

// dialUnix connects to a Unix socket until the test ends.
func dialUnix(t *testing.T, l net.Listener) net.Conn {
	t.Helper()
	c := must(net.Dial("unix", l.Addr().String()))
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	return c
}

// statusOf returns the status of an answer.
func statusOf(answer string) string {
	_, status, _ := strings.Cut(answer, " ")
	return status[:min(3, len(status))]
}

// Once it is certain that a client speaks HTTP, its head may take HeaderTimeout, whatever the
// method.
func TestSlowHeads(t *testing.T) {
	t.Parallel()
	all := everyWay(t, func() *Server {
		return &Server{Hub: echoHub(), SniffTimeout: sniffSoon, HeaderTimeout: patience}
	})
	pauseFor(sniffSoon + sniffSoon/4)
	for _, c := range all {
		_, rest, _ := strings.Cut(c.send, "|")
		send(t, c, rest)
	}
	for _, c := range all {
		if got := joined(expectEnd(t, c)); statusOf(got) != c.status || !strings.HasSuffix(got, c.ends) {
			t.Errorf("%s: read %q, want %s and %q", c.name, got, c.status, c.ends)
		}
	}
}

// A head that stays incomplete is answered with 408, whatever the method, and even if a route is
// undecided.
func TestLateHeads(t *testing.T) {
	t.Parallel()
	seen := make(chan string, 1000)
	all := everyWay(t, func() *Server {
		hub := echoHub()
		hub.OnError = func(info *Info, err error) { seen <- info.Protocol + ": " + err.Error() }
		return &Server{SniffTimeout: patience, HeaderTimeout: sniffSoon, OnStall: handlers.Refuse, Hub: hub}
	})
	servers := map[*Server]uint64{}
	for _, c := range all {
		servers[c.of]++
		got := expectEnd(t, c)
		if statusOf(got) != "408" || !strings.Contains(got, "\r\nConnection: close\r\n") || !strings.Contains(got, "\r\nDate: ") {
			t.Errorf("%s: read %q, want 408", c.name, got)
		}
		if got, want := <-seen, handlers.ProtocolHTTP1+": "+ErrStalled.Error(); got != want {
			t.Errorf("OnError gets %q, want %q", got, want)
		}
	}
	for s, n := range servers {
		if got := s.Stats().Stalled; got != n {
			t.Errorf("%d have stalled, want %d", got, n)
		}
	}
}

// A head whose last bytes decide the route reaches that route, however slowly it comes.
func TestSlowHeadFindsItsRoute(t *testing.T) {
	t.Parallel()
	var all []client
	for name, m := range map[string]matchers.Matcher{
		"a field":      matchers.HTTP1Header("X-For", "program"),
		"cmux's field": matchers.FromCmux(cmux.HTTP1HeaderField("X-For", "program")),
	} {
		peekedAndRead(t, func(t2 *testing.T, serve func(*testing.T, *Server) string) {
			hub := echoHub()
			hub.OnError = func(info *Info, err error) { t.Errorf("OnError gets %v, %v", info, err) }
			s := &Server{Hub: hub, TLSConfig: withTLS(), SniffTimeout: sniffSoon, HeaderTimeout: patience, Goroutines: byGoroutines}
			s.HandleFunc("program", m, func(c net.Conn) { _, _ = io.WriteString(c, "the program") })
			allowHandshakes(t, s)
			addr := serve(t, s)
			for _, method := range []string{"GET", "POST"} {
				h := head{name: name + ", " + method, send: method + " / HTTP/1.1\r\nHost: localhost\r\n"}
				all = append(all, client{dial(t, addr), h, t2.Name(), s})
				if name == "a field" { // with the other way a ClientHello waits for a second
					all = append(all, client{dialTLS(t, addr), h, t2.Name() + ", TLS", s})
				}
			}
		})
	}
	for _, c := range all {
		send(t, c, c.send)
	}
	pauseFor(sniffSoon + sniffSoon/4)
	for _, c := range all {
		send(t, c, "X-For: program\r\n\r\n")
	}
	for _, c := range all {
		got := make([]byte, len("the program"))
		if _, err := io.ReadFull(c, got); err != nil || string(got) != "the program" {
			t.Errorf("%s, %s: read %q, %v", c.name, c.head.name, got, err)
		}
	}
}

// With a negative HeaderTimeout a head may take any time.
func TestHeadsWithoutBound(t *testing.T) {
	t.Parallel()
	p := portOf(t, &Server{HeaderTimeout: -1})
	c := &conn{port: p, sniffing: &sniffing{}}
	b := []byte("GET / HTTP/1.1\r\nHost: localhost\r\n")
	if r, _, err := p.look(c, b, false); r != nil || err != nil || c.stage() != stageHead {
		t.Fatalf("%v, %v, stage %d", r, err, c.stage())
	}
	if d := p.sniff.patience(stageHead); d < 24*365*time.Hour {
		t.Errorf("a head has %v", d)
	}
}

// HeaderTimeout does not apply to a complete head while a route of the program is undecided about
// it.
func TestWholeHeadOfUndecidedRoute(t *testing.T) {
	t.Parallel()
	s := &Server{}
	s.HandleFunc("other", needsWindow, func(net.Conn) {})
	p := portOf(t, s)
	c := &conn{port: p, sniffing: &sniffing{}, info: newInfo(netip.AddrPort{}, netip.AddrPort{})}
	whole := []byte("POST / HTTP/1.1\r\nHost: localhost\r\n\r\n")
	for n := range len(whole) + 1 {
		c.seen = n
		r, _, err := p.look(c, whole[:n], false)
		want := stageMore
		switch {
		case n == 0:
			want = stageFirst
		case n >= len("POST /") && n < len(whole):
			want = stageHead
		}
		if got := c.stage(); r != nil || err != nil || got != want {
			t.Errorf("after %q: stage %d, %v, want %d", whole[:n], got, err, want)
		}
	}
	if r, err := p.passOver(c, whole); r == nil || r.name != RouteHTTP || err != nil {
		t.Errorf("passOver() = %v, %v", r, err)
	}
}

// A client of a Unix socket that sends its head byte by byte is never blocked by unread bytes.
func TestDrippedHeadsOnAUnixSocket(t *testing.T) {
	t.Parallel()
	l := must(Listen("unix:" + t.TempDir() + "/sock"))[0]
	serveOn(t, &Server{Hub: echoHub()}, l)
	filler := "\r\nCookie: " + strings.Repeat("c", 2000) + "\r\nHost: localhost\r\n"
	for _, h := range heads {
		c := dialUnix(t, l)
		all := strings.ReplaceAll(strings.ReplaceAll(h.send, "|", ""), "\r\nHost: localhost\r\n", filler)
		if _, err := (&dripping{c}).Write([]byte(all)); err != nil {
			t.Fatal(err)
		}
		if got := expectEnd(t, c); statusOf(got) != h.status {
			t.Errorf("%s: read %q, want %s", h.name, got, h.status)
		}
	}
}
