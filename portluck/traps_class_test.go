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
	"net/rpc"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/matchers"
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
	hub, e := record(echo)
	addr := serve(t, &Server{Hub: hub, TLSConfig: withTLS()})
	for _, secure := range []bool{false, true} {
		var c net.Conn = dial(t, addr)
		scheme := "ws"
		if secure {
			c, scheme = dialTLS(t, addr, "http/1.1"), "wss"
		}
		r := bufio.NewReader(c)
		if resp, _ := request(t, c, r, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); resp.StatusCode != 405 {
			t.Fatalf("GET: %d", resp.StatusCode)
		}
		resp, _ := request(t, c, r, "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
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

// A client that stops in the middle of a protocol's first bytes never becomes raw: also part 2, row 7.
func TestTraps1Row24StallIsNotRaw(t *testing.T) {
	hub, e := record(echo)
	addr := serve(t, &Server{Hub: hub, TLSConfig: withTLS(), SniffTimeout: 100 * time.Millisecond})
	var all []*net.TCPConn
	for _, name := range []string{"curl-get", "curl-https", "curl-h2c", "chromium-ws", "curl-haproxy", "proxy-v2"} {
		hello := testdata.Get(name).Bytes
		for n := 1; n < min(len(hello), 40); n++ {
			c := dial(t, addr)
			send(t, c, string(hello[:n]))
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

// Every recorded client is classified by the port as it is by the matchers, whole and byte by byte.
func TestTranscriptsOverTheWire(t *testing.T) {
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

// What a client negotiated by ALPN it must speak: TRAPS part 2, row 3.
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

// The same line in the clear and over TLS is told apart: part 2, row 4. Inside TLS everything is sniffed again.
func TestTraps2Row04InsideTLS(t *testing.T) {
	hub, e := record(echo)
	addr := serve(t, &Server{Hub: hub, TLSConfig: withTLS()})
	talk(t, addr, "{x}\n")
	c := dialTLS(t, addr)
	send(t, c, "{x}\n")
	expect(t, c, "{x}\n")
	c.Close()
	e.want(t, "connect tcp", "message {x}", "disconnect tcp", "connect tls", "message {x}", "disconnect tls")
	h := dialTLS(t, addr)
	send(t, h, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nConnection: close\r\n\r\ny")
	if got := expectEnd(t, h); !strings.HasSuffix(got, "\r\n\r\ny\n") {
		t.Errorf("HTTP inside TLS without ALPN: %q", got)
	}
	inner := tls.Client(dialTLS(t, addr), &tls.Config{InsecureSkipVerify: true})
	if err := inner.Handshake(); err == nil {
		t.Error("TLS inside TLS is served")
	}
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

// Mixed clients that come and go never see one another's bytes, and each connect has its disconnect: part 2, row 12.
func TestTraps2Row12NobodyIsMixedUp(t *testing.T) {
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

// oneClient has id echoed by one of the protocols, or leaves early.
func oneClient(addr, id string, kind int) error {
	c, err := net.DialTimeout("tcp", addr, 10*time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	if kind >= 4 {
		secure := tls.Client(c, &tls.Config{InsecureSkipVerify: true})
		defer secure.Close()
		c, kind = secure, kind-4
	}
	switch kind {
	case 0:
		fmt.Fprintf(c, "%s\n", id)
	case 1:
		fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", len(id), id)
	case 2:
		fmt.Fprintf(c, "PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(id), id[:1])
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

// A port that has nothing to do uses no CPU, also after connections were handed over by a deadline: part 2, row 11.
func TestTraps2Row11IdleUsesNoCPU(t *testing.T) {
	s := &Server{SniffTimeout: 50 * time.Millisecond}
	addr := serve(t, s)
	silentClients(t, addr, 10)
	stalled := dial(t, addr)
	send(t, stalled, "GE")
	_, _ = io.ReadAll(stalled)
	eventually(t, "they are announced", func() bool { return s.Stats().Silent == 10 })
	before := cpuTime()
	pauseFor(500 * time.Millisecond)
	if used := cpuTime() - before; used > 50*time.Millisecond {
		t.Errorf("%v of CPU in half a second", used)
	}
}

// Limits give their places back, whatever a connection was: TRAPS part 2, row 10.
func TestLimits(t *testing.T) {
	tests := map[string]*Server{"in all": {MaxConns: 3}, "per address": {MaxConnsPerIP: 3}}
	for name, s := range tests {
		t.Run(name, func(t *testing.T) {
			hub, _ := record(echo)
			s.Hub, s.TLSConfig = hub, withTLS()
			s.HandleFunc("func", matchers.Prefix("FUNC"), func(c net.Conn) { io.Copy(io.Discard, c) })
			l := s.Listen("listen", matchers.Prefix("LIST"))
			addr := serve(t, s)
			go func() { // ends when the server shuts down
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					go func() { // ends with its client
						defer c.Close()
						io.Copy(io.Discard, c)
					}()
				}
			}()
			for range 3 {
				for _, first := range []string{"{}\n", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "FUNC", "LIST", ""} {
					c := dial(t, addr)
					send(t, c, first)
					eventually(t, "it is open", func() bool { return s.Stats().Open == 1 || first == "" })
					c.Close()
					eventually(t, "it is closed", func() bool { return s.Stats().Open == 0 })
				}
				secure := dialTLS(t, addr)
				secure.Close()
				eventually(t, "it is closed", func() bool { return s.Stats().Open == 0 })
			}
			var all []net.Conn
			for range 3 {
				c := dial(t, addr)
				send(t, c, "{}\n")
				expect(t, c, "{}\n")
				all = append(all, c)
			}
			surplus := dial(t, addr)
			surplus.Write([]byte("{}\n"))
			if got, _ := io.ReadAll(surplus); len(got) > 0 {
				t.Errorf("the fourth reads %q", got)
			}
			all[0].Close()
			eventually(t, "there is room", func() bool { return s.Stats().Open == 2 })
			c := dial(t, addr)
			send(t, c, "{}\n")
			expect(t, c, "{}\n")
		})
	}
}

func TestMaxSniffing(t *testing.T) {
	hub, e := record(echo)
	s := &Server{Hub: hub, MaxSniffing: 5, SniffTimeout: time.Minute}
	addr := serve(t, s)
	first := dial(t, addr)
	send(t, first, "GE")
	eventually(t, "it is sniffed", func() bool { return s.Stats().Sniffing == 1 })
	for i := range 5 {
		send(t, dial(t, addr), "GE")
		eventually(t, "it is sniffed", func() bool { return s.Stats().Accepted == uint64(i+2) })
	}
	_, _ = io.ReadAll(first) // the oldest goes
	e.wantError(t, ErrShed.Error())
}

// pipeListener is a listener without a socket.
type pipeListener struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}
func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

// hiding hides what a listener is: its connections cannot be peeked at.
type hiding struct{ net.Listener }

// Several listeners of any kind are served at once, in the same way.
func TestListeners(t *testing.T) {
	hub, _ := record(echo)
	s := &Server{Hub: hub, TLSConfig: withTLS(), SniffTimeout: 500 * time.Millisecond}
	pipes := &pipeListener{conns: make(chan net.Conn), done: make(chan struct{})}
	unix, err := Listen("unix:" + filepath.Join(t.TempDir(), "sock"))
	if err != nil {
		t.Fatal(err)
	}
	plain, hidden := listen(t), hiding{listen(t)}
	for _, l := range []net.Listener{pipes, unix[0], plain, hidden} {
		serveOn(t, s, l)
	}
	dialers := map[string]func() net.Conn{
		"pipe": func() net.Conn {
			a, b := net.Pipe()
			pipes.conns <- a
			return b
		},
		"unix":   func() net.Conn { return must(net.Dial("unix", unix[0].Addr().String())) },
		"tcp":    func() net.Conn { return must(net.Dial("tcp", plain.Addr().String())) },
		"hidden": func() net.Conn { return must(net.Dial("tcp", hidden.Addr().String())) },
	}
	for name, dial := range dialers {
		t.Run(name, func(t *testing.T) {
			open := func() net.Conn {
				c := dial()
				t.Cleanup(func() { c.Close() })
				c.SetDeadline(time.Now().Add(10 * time.Second))
				return c
			}
			raw := open()
			send(t, raw, "{raw}\n")
			expect(t, raw, "{raw}\n")
			h := open()
			if resp, body := request(t, h, bufio.NewReader(h), "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi"); body != "hi\n" {
				t.Errorf("HTTP: %d %q", resp.StatusCode, body)
			}
			secure := tls.Client(open(), &tls.Config{InsecureSkipVerify: true})
			send(t, secure, "{tls}\n")
			expect(t, secure, "{tls}\n")
			before := s.Stats().Silent
			silent := open()
			eventually(t, "a silent client is announced", func() bool { return s.Stats().Silent > before })
			send(t, silent, "{later}\n")
			expect(t, silent, "{later}\n")
			announced := s.Stats().Silent
			spoken := open()
			eventually(t, "a silent client is announced", func() bool { return s.Stats().Silent > announced })
			eventually(t, "it is spoken to", func() bool {
				go hub.Broadcast(TextMessage("{hello}"))
				spoken.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
				line, _ := bufio.NewReader(spoken).ReadString('\n')
				return line == "{hello}\n"
			})
			stalled := open()
			send(t, stalled, "GE")
			if got, err := io.ReadAll(stalled); len(got) > 0 || err != nil && name != "pipe" {
				t.Errorf("stalled: %q, %v", got, err)
			}
		})
	}
	if names := s.Stats().Routes; names[RouteRaw] == 0 || names[RouteHTTP] == 0 || names[RouteTLS] == 0 {
		t.Errorf("routes %v", names)
	}
}

func TestListenAndServe(t *testing.T) {
	all, err := Listen("localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := all[0].Addr().String()
	if len(all) == 2 && all[0].Addr().(*net.TCPAddr).Port != all[1].Addr().(*net.TCPAddr).Port {
		t.Errorf("listening on %v and %v", all[0].Addr(), all[1].Addr())
	}
	if err := (&Server{Addr: addr}).ListenAndServe(); err == nil || !strings.Contains(err.Error(), addr) {
		t.Errorf("ListenAndServe() on a taken address = %v", err)
	}
	for _, l := range all {
		l.Close()
	}
	s := &Server{Addr: addr, Hub: echoHub()}
	done := make(chan error, 1)
	go func() { done <- s.ListenAndServe() }()
	eventually(t, "it listens", func() bool {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	s.Close()
	if err := <-done; err != ErrServerClosed {
		t.Errorf("ListenAndServe() = %v", err)
	}
	path := filepath.Join(t.TempDir(), "file")
	os.WriteFile(path, []byte("mine"), 0o600)
	if _, err := Listen("unix:" + path); err == nil {
		t.Error("a file that is no socket was replaced")
	}
}

// A log line has the first bytes in hex, and what clients say nowhere: part 2, row 21.
func TestVerdict(t *testing.T) {
	got := make(chan string, 4)
	addr := serve(t, &Server{OnVerdict: func(v Verdict) { got <- fmt.Sprintf("%s %q %s", v.Route, v.First, v.Info.Remote.Addr()) }})
	talk(t, addr, "{first}\n")
	if v := <-got; v != `raw "{first}\n" 127.0.0.1` {
		t.Errorf("verdict %s", v)
	}
	routes := []string{RouteProxy, RouteTLS, RouteH2C, RouteWebSocket, RouteHTTP, RouteRaw, RouteSilent, RouteStalled}
	if !slices.Contains(routes, RouteRaw) {
		t.Error("no raw route")
	}
}

type Arith int

// Double doubles.
func (Arith) Double(n int, reply *int) error {
	*reply = 2 * n
	return nil
}

// A server that wants a net.Listener, here net/rpc of the standard library, shares the port with everything else.
func ExampleServer_Listen() {
	s := &Server{Hub: &Hub{OnMessage: func(m Message, w *Writer, _ *Client) { w.Send(m) }}}
	calls := s.Listen("rpc", matchers.Prefix("RPC1"))
	server := rpc.NewServer()
	server.Register(Arith(0))
	go func() { // ends when the port shuts down
		for {
			c, err := calls.Accept()
			if err != nil {
				return
			}
			io.ReadFull(c, make([]byte, 4)) // "RPC1"
			go server.ServeConn(c)          // ends with the connection
		}
	}()
	l, _ := net.Listen("tcp", "127.0.0.1:0")
	go s.Serve(l)

	c, _ := net.Dial("tcp", l.Addr().String())
	io.WriteString(c, "RPC1")
	client := rpc.NewClient(c)
	var twice int
	fmt.Println(client.Call("Arith.Double", 21, &twice), twice)
	client.Close()

	raw, _ := net.Dial("tcp", l.Addr().String())
	io.WriteString(raw, "a raw line\n")
	line, _ := bufio.NewReader(raw).ReadString('\n')
	fmt.Print(line)
	raw.Close()
	s.Shutdown(context.Background())
	// Output:
	// <nil> 42
	// a raw line
}
