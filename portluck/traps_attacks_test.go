//go:build linux

package portluck

import (
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/matchers"
)

// The server stops reading long before a megabyte of header lines, whichever part of it reads them:
// rows 37 and 38, and part 2, rows 8 and 9.
func TestTraps1Row37EndlessHeader(t *testing.T) {
	if !alone(t) {
		return
	}
	addr := serve(t, &Server{})
	before, _ := memory()
	c := dial(t, addr)
	send(t, c, "GET / HTTP/1.1\r\nHost: localhost\r\n")
	line := []byte("X-Filler: " + strings.Repeat("y", 990) + "\r\n")
	sent := 0
	for sent < 100<<20 {
		n, err := c.Write(line)
		sent += n
		if err != nil {
			break
		}
	}
	if sent > 16<<20 { // what the kernel's buffers take, and more
		t.Errorf("%d bytes of header were taken", sent)
	}
	if after, _ := memory(); after-before > 4<<20 {
		t.Errorf("%d bytes of memory", after-before)
	}
}

// The cost of header matchers does not multiply: when bytes come, each matcher is asked at most
// once, and none after an undecided one.
func TestTraps1Row40ManyHeaderMatchers(t *testing.T) {
	t.Parallel()
	const routes = 50
	var asked atomic.Int64
	s := &Server{Hub: echoHub()}
	for i := range routes {
		m := matchers.HTTP1Header("X-Route", fmt.Sprint(i))
		s.Handle(fmt.Sprint(i), matchers.MatcherFunc(func(h matchers.Hello) matchers.Verdict {
			asked.Add(1)
			return m.Match(h)
		}), handlers.Refuse)
	}
	addr := serve(t, s)
	const head = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx"
	if got := talk(t, addr, head); !strings.HasPrefix(got, "HTTP/1.1 200 ") {
		t.Errorf("read %q", got)
	}
	if n := asked.Swap(0); n > 2*routes {
		t.Errorf("%d matchers were asked for a request in one segment, of %d", n, routes)
	}
	c := dial(t, addr)
	for _, b := range []byte(head) {
		send(t, c, string(b))
		pauseFor(100 * time.Microsecond)
	}
	if got := expectEnd(t, c); !strings.HasPrefix(got, "HTTP/1.1 200 ") {
		t.Errorf("read %q", got)
	}
	if n := asked.Load(); n > int64(len(head)+2*routes) {
		t.Errorf("%d matchers were asked for %d segments, of %d", n, len(head), routes)
	}
}

// Whatever a page can make a browser send, and everything that begins like it, is answered as HTTP
// and raises no raw event.
func TestTraps2Row01MalformedHTTPIsNotRaw(t *testing.T) {
	hub, e := record(echo)
	addr := serve(t, &Server{Hub: hub})
	for _, first := range []string{
		" GET / HTTP/1.1\r\nHost: localhost\r\n\r\nraw\n", "\t\r\nPOST /x HTTP/1.1\r\n\r\nraw\n", "get / http/1.1\r\n\r\nraw\n",
		"GET /old\r\nraw\n", "GET / FTP/9\r\n\r\nraw\n", "POST /gopher raw\r\nraw\n", "FOO bar HTTP/1.1\r\nHost: a b\r\n\r\nraw\n",
		"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\nraw\n", "GET http://x/ HTTP/1.1\r\n\r\nraw\n", "\r\n\r\nGET / HTTP/7.5\r\n\r\nraw\n",
		"OPTIONS * HTTP/1.1\r\nbad header\r\n\r\nraw\n", "CONNECT x:25 HTTP/1.1\r\n\r\nEHLO raw\n",
	} {
		c := dial(t, addr)
		send(t, c, first)
		c.CloseWrite()
		got := expectEnd(t, c)
		if !strings.HasPrefix(got, "HTTP/1.1 4") && !strings.HasPrefix(got, "HTTP/1.1 5") {
			t.Errorf("%q is answered with %q", first, got)
		}
	}
	for _, ev := range e.all() {
		if strings.HasPrefix(ev, "connect") || strings.HasPrefix(ev, "message") {
			t.Errorf("event %q", ev)
		}
	}
}

// Whatever begins like TLS is served as TLS or not at all, never by a weaker route.
func TestTraps2Row14UnusualHellosAreNotRaw(t *testing.T) {
	t.Parallel()
	hub, e := record(echo)
	addr := serve(t, &Server{Hub: hub, TLSConfig: withTLS(), SniffTimeout: 200 * time.Millisecond, OnSilence: handlers.Refuse})
	noTLS, e2 := record(echo)
	addr2 := serve(t, &Server{Hub: noTLS, SniffTimeout: 200 * time.Millisecond, OnSilence: handlers.Refuse})
	var all []net.Conn
	for _, first := range []string{
		"\x16\x03\x09\xff\xff\nraw\n", "\x16\x03\x01\x00\x00\nraw\n", "\x16\x03\x01\x00\x01\x01\x16\x03\x01\x00\x01\x00\nraw\n",
		"\x16\x03\x01\x00\x05\x02\x00\x00\x01\x00\nraw\n", "\x16\x03\x01\x40\x00\x01\x00\x00\x29" + strings.Repeat("\n", 20000), "\x16\x03",
	} {
		for _, a := range []string{addr, addr2} {
			c := dial(t, a)
			_, _ = c.Write([]byte(first)) // it may be closed by now
			all = append(all, c)
		}
	}
	for _, c := range all {
		for buf := make([]byte, 512); ; {
			if _, err := c.Read(buf); err != nil {
				break
			}
		}
	}
	for _, ev := range append(e.all(), e2.all()...) {
		if strings.HasPrefix(ev, "connect") || strings.HasPrefix(ev, "message") {
			t.Errorf("event %q", ev)
		}
	}
}

// countingListener counts the writes on its connections.
type countingListener struct {
	net.Listener
	writes *atomic.Int64
}

func (l countingListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return countingConn{c, l.writes}, nil
}

type countingConn struct {
	net.Conn
	writes *atomic.Int64
}

func (c countingConn) Write(p []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(p)
}

// The header and the payload of a WebSocket message leave in one write, and so do all answers of
// one turn.
func TestTraps4Row10OneWriteForAMessage(t *testing.T) {
	var writes atomic.Int64
	l := listen(t)
	serveOn(t, &Server{Hub: echoHub()}, countingListener{l, &writes})
	w := dialWS(t, "ws://"+l.Addr().String())
	before := writes.Load()
	const n = 20
	for i := range n {
		msg := strings.Repeat("x", 1+300*i)
		w.send(t, Text, msg)
		w.expect(t, Text, msg)
	}
	if got := writes.Load() - before; got != n {
		t.Errorf("%d writes for %d messages", got, n)
	}
}
