package portluck

import (
	"io"
	"net"
	"net/netip"
	"testing"

	"github.com/portluck/portluck/handlers"
)

// greeter speaks first, and then sends back what it gets.
var greeter = handlers.HandlerFunc(func(c handlers.Conn, p handlers.Port) {
	p.Go(func() {
		defer c.Close()
		nc, err := c.NetConn()
		if err != nil {
			p.Fail(c.Info(), err)
			return
		}
		_, _ = io.WriteString(nc, "hello "+c.Info().Remote.Addr().String()+"\n")
		_, _ = io.Copy(nc, nc)
	})
})

// The server speaks to clients of SpeakFirst at once. Here SniffTimeout has no bound, so it never
// speaks first to others.
func TestSpeakFirst(t *testing.T) {
	loopback := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	elsewhere := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	const post = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nConnection: close\r\n\r\nx\n"
	for _, test := range []struct {
		name, in, want string
		prefixes       []netip.Prefix
		proxies        []netip.Prefix
	}{
		{name: "silent", prefixes: loopback, want: "hello 127.0.0.1\n"},
		{name: "speaks all the same", in: post, prefixes: loopback, want: "hello 127.0.0.1\n" + post},
		{name: "from elsewhere", in: "raw\n", prefixes: elsewhere, want: "raw\n"},
		{name: "by a proxy", in: "PROXY TCP4 10.1.2.3 10.0.0.1 1 2\r\n", prefixes: elsewhere, proxies: loopback, want: "hello 10.1.2.3\n"},
		{name: "by a proxy, IPv6", in: "PROXY TCP6 fd00::1 fd00::2 1 2\r\n", prefixes: elsewhere, proxies: loopback, want: "hello fd00::1\n"},
		{name: "by a proxy, from elsewhere", in: "PROXY TCP4 9.1.2.3 9.0.0.1 1 2\r\nraw\n", prefixes: elsewhere, proxies: loopback, want: "raw\n"},
	} {
		for kind, wrap := range map[string]func(net.Listener) net.Listener{
			"socket": func(l net.Listener) net.Listener { return l },
			// read, not peeked at
			"any": func(l net.Listener) net.Listener { return struct{ net.Listener }{l} },
		} {
			t.Run(test.name+"/"+kind, func(t *testing.T) {
				hub, e := record(echo)
				s := &Server{Hub: hub, OnSilence: greeter, SpeakFirst: test.prefixes, ProxyFrom: test.proxies, SniffTimeout: -1}
				l := must(net.Listen("tcp", "127.0.0.1:0"))
				serveOn(t, s, wrap(l))
				c := dial(t, l.Addr().String())
				send(t, c, test.in)
				expect(t, c, test.want)
				if test.want != "raw\n" {
					if got := e.all(); len(got) != 0 {
						t.Errorf("events %q", got)
					}
					if n := s.Stats().Routes[RouteSilent]; n != 1 {
						t.Errorf("%d connections to OnSilence, want 1", n)
					}
				}
				c.Close()
			})
		}
	}
}

// SpeakFirst has no effect without an OnSilence.
func TestSpeakFirstAlone(t *testing.T) {
	hub, e := record(echo)
	s := &Server{Hub: hub, SpeakFirst: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
	if got := talk(t, serve(t, s), "line\n"); got != "line\n" {
		t.Errorf("read %q", got)
	}
	e.want(t, "connect tcp", "message line", "disconnect tcp")
}

// A handler whose connections do not end by themselves learns of a shutdown from ShuttingDown.
func TestShuttingDown(t *testing.T) {
	ended := make(chan struct{})
	s := &Server{SpeakFirst: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
	s.OnSilence = handlers.HandlerFunc(func(c handlers.Conn, p handlers.Port) {
		p.Go(func() {
			defer close(ended)
			defer c.Close()
			<-p.(handlers.ShutdownNotifier).ShuttingDown()
		})
	})
	c := dial(t, serve(t, s))
	eventually(t, "it is served", func() bool { return s.Stats().Routes[RouteSilent] == 1 })
	if err := s.Shutdown(t.Context()); err != nil {
		t.Errorf("Shutdown() = %v", err)
	}
	<-ended
	expectEnd(t, c)
}
