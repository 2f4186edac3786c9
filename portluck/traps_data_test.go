//go:build linux

package portluck

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/matchers"
	"golang.org/x/net/http2"
)

// oneSegment keeps what is written and sends it, in one segment, when its half is closed.
type oneSegment struct {
	*net.TCPConn
	held []byte
	hold bool
}

func (c *oneSegment) Write(p []byte) (int, error) {
	if !c.hold {
		return c.TCPConn.Write(p)
	}
	c.held = append(c.held, p...)
	return len(p), nil
}

// SetWriteDeadline does nothing, because a tls.Conn that is closed sets a deadline that passes at
// once.
func (c *oneSegment) SetWriteDeadline(time.Time) error { return nil }

// The end of the stream comes in one segment with the last bytes, none of which is lost.
func TestTraps1Row28DataAndCloseNotify(t *testing.T) {
	t.Parallel()
	hub, _ := record(func(m Message, w *Writer) { w.WriteString(fmt.Sprint(len(m.Data))) })
	addr := serve(t, &Server{Hub: hub, TLSConfig: withTLS()})
	for i := range 20 {
		msg := "{" + strings.Repeat("x", 2999)
		if i%2 != 0 {
			msg = "GE" // undecided until the end
		}
		seg := &oneSegment{TCPConn: dial(t, addr)}
		// the alerts of TLS 1.2 can be read
		c := tls.Client(seg, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12})
		if err := c.Handshake(); err != nil {
			t.Fatal(err)
		}
		seg.hold = true
		send(t, c, msg)
		c.CloseWrite() // its alert
		send(t, seg.TCPConn, string(seg.held))
		if got := expectEnd(t, c); got != fmt.Sprint(len(msg)) {
			t.Fatalf("%s bytes have come, want %d", got, len(msg))
		}
		c.Close()
	}
}

func TestTraps1Row29OneWriteIsOneRead(t *testing.T) {
	s := &Server{}
	sizes := make(chan int, 1)
	s.HandleFunc("sizes", matchers.Prefix("SIZE"), func(c net.Conn) {
		n, _ := c.Read(make([]byte, 1000))
		sizes <- n
	})
	c := dial(t, serve(t, s))
	send(t, c, "SIZE"+strings.Repeat("x", 96))
	if n := <-sizes; n != 100 {
		t.Errorf("the first Read has %d bytes, want 100", n)
	}
}

func TestTraps1Row30WholeConnections(t *testing.T) {
	s := &Server{TLSConfig: withTLS()}
	kinds := make(chan string, 1)
	s.HandleFunc("kind", matchers.Prefix("KIND"), func(c net.Conn) { kinds <- fmt.Sprintf("%T", c) })
	l := s.Listen("listen", matchers.Prefix("LIST"))
	addr := serve(t, s)
	send(t, dial(t, addr), "KIND")
	if got := <-kinds; got != "*net.TCPConn" {
		t.Errorf("HandleFunc gets a %s", got)
	}
	send(t, dial(t, addr), "LIST")
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, readFrom := c.(io.ReaderFrom)
	_, closeWrite := c.(interface{ CloseWrite() error })
	_, raw := c.(syscall.Conn)
	_, noDelay := c.(interface{ SetNoDelay(bool) error })
	if !readFrom || !closeWrite || !raw || !noDelay {
		t.Errorf("ReadFrom %t, CloseWrite %t, SyscallConn %t, SetNoDelay %t", readFrom, closeWrite, raw, noDelay)
	}
}

func TestTraps1Row31UnreadBody(t *testing.T) {
	addr := serve(t, &Server{MessageLimit: 10})
	soonest := time.Hour
	for range 20 { // net/http's pause before it closes is half a second each time
		c := dial(t, addr)
		send(t, c, "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n"+strings.Repeat("x", 5000))
		begin := time.Now()
		if got := expectEnd(t, c); !strings.HasPrefix(got, "HTTP/1.1 413 ") {
			t.Errorf("read %.100q", got)
		}
		if soonest = min(soonest, time.Since(begin)); soonest < 400*time.Millisecond {
			return
		}
	}
	t.Errorf("the end of the answer came after %v at the soonest", soonest)
}

func TestTraps1Row32HTTPS(t *testing.T) {
	tlsSeen := make(chan bool, 2)
	s := &Server{TLSConfig: withTLS(), Pages: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		tlsSeen <- r.TLS != nil
	})}
	addr := serve(t, s)
	for _, h2 := range []bool{false, true} {
		c := &http.Client{Transport: &http.Transport{
			TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: h2,
		}}
		resp, err := c.Get("https://" + addr)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		c.CloseIdleConnections()
		if !<-tlsSeen || (resp.ProtoMajor == 2) != h2 {
			t.Errorf("%s, Request.TLS is missing or the version is wrong", resp.Proto)
		}
	}
}

// slowConn writes a byte, pauses, and goes on.
type slowConn struct {
	net.Conn
	pause time.Duration
	once  bool
}

func (c *slowConn) Write(p []byte) (int, error) {
	if !c.once {
		c.once = true
		if n, err := c.Conn.Write(p[:1]); err != nil {
			return n, err
		}
		pauseFor(c.pause)
		n, err := c.Conn.Write(p[1:])
		return n + 1, err
	}
	return c.Conn.Write(p)
}

// A slow TLS client is served until its deadline, and closed after it: also part 5, row 2.
func TestTraps1Row33SlowTLSClient(t *testing.T) {
	t.Parallel()
	hub, e := record(echo)
	addr := serve(t, &Server{Hub: hub, TLSConfig: withTLS(), SniffTimeout: time.Minute})
	c := tls.Client(&slowConn{Conn: dial(t, addr), pause: 200 * time.Millisecond}, &tls.Config{InsecureSkipVerify: true})
	send(t, c, "{slow}\n")
	expect(t, c, "{slow}\n")
	c.Close()
	e.want(t, "connect tls", "message {slow}", "disconnect tls")
	s := &Server{Hub: hub, TLSConfig: withTLS(), SniffTimeout: sniffSoon, OnSilence: handlers.Refuse}
	addr = serve(t, s)
	if err := unlessSilent(s, func() error {
		return endsEmpty(dial(t, addr), "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
	}); err != nil {
		t.Error(err)
	}
	if got := e.waitFor(4); !strings.HasPrefix(got[3], "error ") {
		t.Errorf("events %q", got)
	}
}

func TestTraps1Row34OneSettings(t *testing.T) {
	c := dial(t, serve(t, &Server{}))
	send(t, c, http2.ClientPreface)
	f := http2.NewFramer(c, c)
	if err := f.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	if err := f.WritePing(false, [8]byte{1}); err != nil {
		t.Fatal(err)
	}
	settings := 0
	for {
		frame, err := f.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		switch frame := frame.(type) {
		case *http2.SettingsFrame:
			if !frame.IsAck() {
				settings++
			}
		case *http2.GoAwayFrame:
			t.Fatalf("GOAWAY %v", frame.ErrCode)
		case *http2.PingFrame:
			if settings != 1 {
				t.Errorf("%d SETTINGS, want 1", settings)
			}
			return
		}
	}
}

// A PROXY header gives the client's address if the proxy is trusted: also part 2, row 13.
func TestTraps1Row35Proxy(t *testing.T) {
	t.Parallel()
	loopback := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	const v2 = "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\x01\x02\x03\x04\x05\x06\x07\x08\x30\x39\x00\x50"
	tests := []struct {
		name    string
		from    []netip.Prefix
		head    string
		remote  string // "real" if the connection's own
		refused bool
	}{
		{"v1", loopback, "PROXY TCP4 1.2.3.4 5.6.7.8 12345 80\r\n", "1.2.3.4:12345", false},
		{"v1 of IPv6", loopback, "PROXY TCP6 2001:db8::1 ::1 1 80\r\n", "[2001:db8::1]:1", false},
		{"v1 unknown", loopback, "PROXY UNKNOWN whatever\r\n", "real", false},
		{"v2", loopback, v2, "1.2.3.4:12345", false},
		{"v2 local", loopback, "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00", "real", false},
		{"required", loopback, "", "", true},
		{"malformed", loopback, "PROXY TCP4 1.2.3.4\r\n", "", true},
		{"not trusted", nil, "PROXY TCP4 1.2.3.4 5.6.7.8 12345 80\r\n", "", true},
		{"v2 not trusted", nil, v2, "", true},
	}
	for _, tt := range tests {
		for _, pieces := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/%t", tt.name, pieces), func(t *testing.T) {
				hub, e := record(func(_ Message, w *Writer) { w.WriteString(w.Client().Remote().String()) })
				addr := serve(t, &Server{Hub: hub, ProxyFrom: tt.from, SniffTimeout: patience})
				c := dial(t, addr)
				if pieces {
					for _, b := range []byte(tt.head) {
						c.Write([]byte{b})
						pauseFor(100 * time.Microsecond)
					}
					c.Write([]byte("{}\n"))
				} else {
					c.Write([]byte(tt.head + "{}\n"))
				}
				c.CloseWrite()
				got, _ := io.ReadAll(c)
				switch {
				case tt.refused:
					if len(got) > 0 || !strings.HasPrefix(e.waitFor(1)[0], "error "+ErrProxy.Error()) {
						t.Errorf("read %q, events %q", got, e.all())
					}
				case tt.remote == "real" && string(got) != c.LocalAddr().String(), tt.remote != "real" && string(got) != tt.remote:
					t.Errorf("the client is %s, want %s", got, tt.remote)
				}
			})
		}
	}
}

func TestTraps1Row36FINWhileQueued(t *testing.T) {
	t.Parallel()
	s := &Server{SniffTimeout: sniffSoon}
	l := s.Listen("nobody", matchers.Prefix("NOBODY"))
	defer l.Close()
	addr := serve(t, s)
	for range 20 {
		c := dial(t, addr)
		send(t, c, "NOBODY")
		c.Close()
	}
	eventually(t, "the connections are closed", func() bool { return s.Stats().Open == 0 && s.Stats().Accepted == 20 })
}

// FIN at once ends a connection that is undecided, with and without data before it.
func TestTraps1Row36FINWhileUndecided(t *testing.T) {
	t.Parallel()
	s := &Server{SniffTimeout: time.Hour, Timeout: time.Hour, OnSilence: handlers.Refuse}
	addr := serve(t, s)
	for i := range 20 {
		c := dial(t, addr)
		if i%2 == 0 {
			send(t, c, "GE")
		}
		eventually(t, "it is undecided", func() bool { return s.Stats().Sniffing == 1 })
		c.CloseWrite()
		expectEnd(t, c)
		eventually(t, "it is closed", func() bool { return s.Stats().Open == 0 })
	}
}

func TestTraps1Row38AnnouncedLengths(t *testing.T) {
	if !alone(t) {
		return
	}
	hub, _ := record(nil)
	s := &Server{Hub: hub, TLSConfig: withTLS()}
	addr := serve(t, s)
	talk(t, addr, "{}\n")
	for name, first := range map[string]string{
		"a frame of 16 MiB":       http2.ClientPreface + "\xff\xff\xff\x06\x00\x00\x00\x00\x00",
		"a ClientHello of 16 MiB": "\x16\x03\x01\x40\x00\x01\xff\xff\xff",
		"a WebSocket message": "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n" +
			"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n\x82\xff\x00\x00\x00\x00\x00\x0f\xff\xff",
	} {
		t.Run(name, func(t *testing.T) {
			const n = 100
			before, _ := memory()
			accepted := s.Stats().Accepted
			for range n {
				send(t, dial(t, addr), first)
			}
			eventually(t, "all are accepted", func() bool { return s.Stats().Accepted >= accepted+n })
			if after, _ := memory(); (after-before)/n > 100<<10 {
				t.Errorf("%d bytes a connection", (after-before)/n)
			}
		})
	}
}

// The answers to endless control frames of a client that does not read are not queued without
// bound.
func TestTraps1Row39EndlessSettings(t *testing.T) {
	if !alone(t) {
		return
	}
	addr := serve(t, &Server{Timeout: 2 * time.Second})
	before, _ := memory()
	c := dial(t, addr)
	send(t, c, http2.ClientPreface)
	settings := bytes.Repeat([]byte("\x00\x00\x00\x04\x00\x00\x00\x00\x00"), 1000)
	_ = c.SetWriteDeadline(time.Now().Add(3 * time.Second))
	for sent := 0; sent < 11<<20; {
		n, err := c.Write(settings)
		sent += n
		if err != nil {
			break
		}
	}
	if after, _ := memory(); after-before > 16<<20 {
		t.Errorf("%d bytes of memory", after-before)
	}
}
