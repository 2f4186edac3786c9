//go:build linux

package portluck

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/testdata"
)

func TestTraps1Row15DecidedWithoutWaiting(t *testing.T) {
	hub, _ := record(echo)
	addr := serve(t, &Server{Hub: hub, SniffTimeout: time.Hour})
	for _, line := range []string{"HI\n", "GET\n", "GET stuff\n", "PUT a longer line\n", "Please help me\n", "PING 12345\n", "\xc3\xa9\x01é\n"} {
		c := dial(t, addr)
		send(t, c, line)
		expect(t, c, line)
	}
}

// A kept-alive connection upgrades after other requests, also over TLS: part 5, row 5.
func TestTraps1Row22LateUpgrade(t *testing.T) {
	t.Parallel()
	hub, e := record(echo)
	addr := serve(t, &Server{Hub: hub, TLSConfig: withTLS()})
	for _, secure := range []bool{false, true} {
		var c net.Conn = dial(t, addr)
		scheme := "ws"
		if secure {
			c, scheme = dialTLS(t, addr, "http/1.1"), "wss"
		}
		r := bufio.NewReader(c)
		if resp, _ := request(t, c, r, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"); resp.StatusCode != 405 {
			t.Fatalf("GET: %d", resp.StatusCode)
		}
		resp, _ := request(t, c, r, "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
			"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
		if resp.StatusCode != 101 {
			t.Fatalf("upgrade: %d", resp.StatusCode)
		}
		w := &wsClient{c, r}
		w.send(t, Binary, "late")
		w.expect(t, Binary, "late")
		w.close(t)
		if got := e.waitFor(3); got[len(got)-3] != "connect "+scheme {
			t.Errorf("events %q", got)
		}
		e.mu.Lock()
		e.seen = nil
		e.mu.Unlock()
	}
}

// A client that stops in the middle of a protocol's first bytes never becomes raw: also part 2, row
// 7.
func TestTraps1Row24StallIsNotRaw(t *testing.T) {
	t.Parallel()
	hub, e := record(echo)
	addr := serve(t, &Server{Hub: hub, TLSConfig: withTLS(), SniffTimeout: 100 * time.Millisecond, OnSilence: handlers.Refuse})
	var all []*net.TCPConn
	for _, name := range []string{"curl-get", "curl-https", "curl-h2c", "chromium-ws", "curl-haproxy", "proxy-v2"} {
		hello := testdata.Get(name).Bytes
		for n := 1; n < min(len(hello), 40); n++ {
			c := dial(t, addr)
			_, _ = c.Write(hello[:n]) // it may be closed by now, as silent
			all = append(all, c)
		}
	}
	for _, c := range all {
		_, _ = io.ReadAll(c)
	}
	for _, ev := range e.all() {
		if strings.HasPrefix(ev, "message") || ev == "connect tcp" {
			t.Fatalf("event %q", ev)
		}
	}
}

func TestTraps1Row25PrefaceByteByByte(t *testing.T) {
	t.Parallel()
	s := &Server{}
	c := dial(t, serve(t, s))
	for _, b := range []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00") {
		send(t, c, string(b))
		pauseFor(time.Millisecond)
	}
	head := make([]byte, 9)
	if _, err := io.ReadFull(c, head); err != nil || head[3] != 4 {
		t.Errorf("the first frame is %x, %v, want SETTINGS", head, err)
	}
}

// The port classifies every recorded client as the matchers do, in one piece and byte by byte.
func TestTranscriptsOverTheWire(t *testing.T) {
	t.Parallel()
	routes := map[string]string{
		testdata.HTTP1: RouteHTTP, testdata.HTTP2: RouteH2C, testdata.WebSocket: RouteWebSocket, testdata.TLS: RouteTLS,
		testdata.Proxy: RouteProxy, testdata.SSH: RouteRaw, testdata.Raw: RouteRaw,
	}
	verdicts := make(chan string, 1)
	addr := serve(t, &Server{TLSConfig: withTLS(), SniffTimeout: time.Minute, OnVerdict: func(v Verdict) { verdicts <- v.Route }})
	for _, tr := range testdata.All() {
		for _, slow := range []bool{false, true} {
			c := dial(t, addr)
			if slow {
				for _, b := range tr.Bytes[:min(len(tr.Bytes), 64)] {
					if _, err := c.Write([]byte{b}); err != nil {
						break // decided, and closed, already
					}
				}
				c.Write(tr.Bytes[min(len(tr.Bytes), 64):])
			} else {
				send(t, c, string(tr.Bytes))
			}
			if got := <-verdicts; got != routes[tr.Class] {
				t.Errorf("%s (slow: %t) is %s, want %s", tr.Name, slow, got, routes[tr.Class])
			}
			c.Close()
		}
	}
}

// A client must speak the protocol that it has negotiated by ALPN: TRAPS part 2, row 3.
func TestTraps2Row03ALPN(t *testing.T) {
	hub, e := record(echo)
	s := &Server{Hub: hub, TLSConfig: withTLS()}
	s.HandleALPN("ours/1", handlers.HandlerFunc(func(c handlers.Conn, p handlers.Port) {
		p.Go(func() {
			defer c.Close()
			nc, _ := c.NetConn()
			fmt.Fprintf(nc, "%T", nc)
		})
	}))
	addr := serve(t, s)
	c := dialTLS(t, addr, "http/1.1")
	send(t, c, "raw line\n")
	if got := expectEnd(t, c); !strings.HasPrefix(got, "HTTP/1.1 400 ") {
		t.Errorf("raw bytes after ALPN http/1.1 are answered with %q", got)
	}
	if got := expectEnd(t, dialTLS(t, addr, "ours/1")); got != "*tls.Conn" {
		t.Errorf("our own protocol gets a %s", got)
	}
	err := tls.Client(dial(t, addr), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"ftp"}}).Handshake()
	if err == nil || !strings.Contains(err.Error(), "no application protocol") {
		t.Errorf("ALPN ftp: %v", err)
	}
	for _, ev := range e.all() {
		if strings.HasPrefix(ev, "message") {
			t.Errorf("event %q", ev)
		}
	}
}

// A program can tell a line in the clear from the same line over TLS: part 2, row 4. Inside TLS the
// port classifies each connection again.
func TestTraps2Row04InsideTLS(t *testing.T) {
	t.Parallel()
	hub, e := record(echo)
	addr := serve(t, &Server{Hub: hub, TLSConfig: withTLS()})
	talk(t, addr, "{x}\n")
	c := dialTLS(t, addr)
	send(t, c, "{x}\n")
	expect(t, c, "{x}\n")
	c.Close()
	e.want(t, "connect tcp", "message {x}", "disconnect tcp", "connect tls", "message {x}", "disconnect tls")
	h := dialTLS(t, addr)
	send(t, h, "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nConnection: close\r\n\r\ny")
	if got := expectEnd(t, h); !strings.HasSuffix(got, "\r\n\r\ny\n") {
		t.Errorf("HTTP inside TLS without ALPN: %q", got)
	}
	inner := tls.Client(lineEnds{dialTLS(t, addr)}, &tls.Config{InsecureSkipVerify: true})
	// an alert is an answer too
	if err := inner.Handshake(); err == nil || strings.Contains(err.Error(), "remote error") {
		t.Errorf("TLS inside TLS is served: %v", err)
	}
}

// lineEnds adds a line end to each write, so that it is echoed.
type lineEnds struct{ net.Conn }

func (c lineEnds) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(append(slices.Clip(p), '\n'))
	return min(n, len(p)), err
}

// A page of a foreign origin does not get a WebSocket: part 2, row 5.
func TestTraps2Row05ForeignOrigin(t *testing.T) {
	addr := serve(t, &Server{})
	for origin, want := range map[string]bool{"http://" + addr: true, "http://evil.example": false, "null": false, "": true} {
		d := ws.Dialer{}
		if origin != "" {
			d.Header = ws.HandshakeHeaderHTTP{"Origin": {origin}}
		}
		c, _, _, err := d.Dial(context.Background(), "ws://"+addr)
		if (err == nil) != want {
			t.Errorf("origin %q: %v", origin, err)
		}
		if c != nil {
			c.Close()
		}
	}
}

// A POST whose body looks like the raw protocol raises no raw message: part 2, row 2.
func TestTraps2Row02BodyIsNotRaw(t *testing.T) {
	hub, e := record(nil)
	addr := serve(t, &Server{Hub: hub})
	post(t, http.DefaultTransport, "http://"+addr, strings.NewReader("raw\n"))
	e.want(t, "connect http", "message raw", "disconnect http")
}

// Mixed clients that come and go never see one another's bytes, and each connect has its
// disconnect: part 2, row 12.
func TestTraps2Row12NobodyIsMixedUp(t *testing.T) {
	t.Parallel()
	var connects, disconnects atomic.Int64
	hub := &Hub{
		OnConnect:    func(*Writer, *Client) { connects.Add(1) },
		OnMessage:    func(m Message, w *Writer, _ *Client) { _ = w.Send(m) },
		OnDisconnect: func(*Client, error) { disconnects.Add(1) },
	}
	s := &Server{Hub: hub, TLSConfig: withTLS()}
	addr := serve(t, s)
	var wg sync.WaitGroup
	for worker := range 16 {
		wg.Go(func() {
			for i := range 60 {
				id := fmt.Sprintf("{%d-%d-%s}", worker, i, strings.Repeat("x", rand.IntN(3000)))
				if err := oneClient(addr, id, rand.IntN(6)); err != nil {
					t.Errorf("%.20s: %v", id, err)
				}
			}
		})
	}
	wg.Wait()
	eventually(t, "every client has disconnected", func() bool {
		return connects.Load() == disconnects.Load() && hub.Len() == 0 && s.Stats().Open == 0
	})
}

// oneClient sends id over one of the protocols and reads its echo, or leaves early.
func oneClient(addr, id string, kind int) error {
	c, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	if kind >= 4 {
		secure := tls.Client(c, &tls.Config{InsecureSkipVerify: true})
		defer secure.Close()
		c, kind = secure, kind-4
	}
	switch kind {
	case 0:
		fmt.Fprintf(c, "%s\n", id)
	case 1:
		fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", len(id), id)
	case 2:
		fmt.Fprintf(c, "PUT / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s", len(id), id[:1])
		return nil // leaves in the middle
	case 3:
		c.(*net.TCPConn).SetLinger(0) // leaves with a reset
		fmt.Fprintf(c, "%s\n%s", id, id)
		return nil
	}
	r := bufio.NewReader(c)
	if kind == 1 {
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		r = bufio.NewReader(resp.Body)
	}
	got, err := r.ReadString('\n')
	if got != id+"\n" {
		return fmt.Errorf("read %.40q, %w", got, err)
	}
	return nil
}

// A port that has nothing to do uses no CPU, even after deadlines have decided connections: part 2,
// row 11.
func TestTraps2Row11IdleUsesNoCPU(t *testing.T) {
	if !alone(t) {
		return
	}
	s := &Server{SniffTimeout: 50 * time.Millisecond}
	addr := serve(t, s)
	silentClients(t, addr, 10)
	stalled := dial(t, addr)
	send(t, stalled, "GE")
	eventually(t, "they are announced", func() bool {
		st := s.Stats()
		return st.Silent+st.Stalled == 11 // the last is silent too, if the machine is busy
	})
	before := cpuTime()
	pauseFor(500 * time.Millisecond)
	if used := cpuTime() - before; used > 50*time.Millisecond {
		t.Errorf("%v of CPU in half a second", used)
	}
}
