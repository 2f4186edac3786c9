package websocket

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/gobwas/ws"
	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/testdata/funcs"
)

const (
	key   = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" // of RFC 6455, section 1.3
	basic = "Host: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
	good  = "GET /chat HTTP/1.1\r\n" + basic + key + "\r\n"
)

// shake feeds a handshake to its codec.
func shake(h *Handler, in string, cut func(int) int) *driver {
	return feed(&handshake{handler: h, info: &handlers.Info{Protocol: "http/1.1"}}, []byte(in), cut)
}

// statusOf returns the status and the header of the answer in b.
func statusOf(t testing.TB, b []byte) (int, http.Header) {
	t.Helper()
	resp, err := http.ReadResponse(bufio.NewReader(strings.NewReader(string(b))), nil)
	if err != nil {
		t.Fatalf("answer %q: %v", b, err)
	}
	resp.Body.Close()
	return resp.StatusCode, resp.Header
}

func TestHandshakes(t *testing.T) {
	tests := []struct {
		name, in string
		status   int
	}{
		{"the RFC's", good, 101},
		{"row 3: Connection in two lines", "GET / HTTP/1.1\r\n" + basic + "Connection: keep-alive\r\n" + key + "\r\n", 101},
		{"row 3: Upgrade is a list", strings.Replace(good, "websocket", "h2c, WebSocket", 1), 101},
		{"row 7: absolute form", strings.Replace(good, "/chat", "http://x/chat", 1), 101},
		{"row 2: a line without end", "GET /" + strings.Repeat("a", maxHead), 431},
		{"many fields", strings.Replace(good, "\r\n\r\n", "\r\n"+strings.Repeat("A: b\r\n", 1000)+"\r\n", 1), 101},
		{"row 4: malformed request line", strings.Replace(good, "GET /chat", "GET", 1), 400},
		{"row 5: key is no base64", strings.Replace(good, "dGhl", "!!!!", 1), 400},
		{"row 5: key is too short", strings.Replace(good, "dGhlIHNhbXBsZSBub25jZQ==", "dGhl", 1), 400},
		{"row 5: no key", "GET / HTTP/1.1\r\n" + basic + "\r\n", 400},
		{"row 5: two keys", strings.Replace(good, key, key+key, 1), 400},
		{"row 5: two hosts", strings.Replace(good, "Host: x\r\n", "Host: x\r\nHost: y\r\n", 1), 400},
		{"row 5: no host", strings.Replace(good, "Host: x\r\n", "", 1), 400},
		{"row 5: two versions", strings.Replace(good, "Version: 13\r\n", "Version: 13\r\nSec-WebSocket-Version: 13\r\n", 1), 426},
		{"row 5: a body", strings.Replace(good, key, key+"Content-Length: 5\r\n", 1), 400},
		{"row 5: a chunked body", strings.Replace(good, key, key+"Transfer-Encoding: chunked\r\n", 1), 400},
		{"row 5: a body behind a space", strings.Replace(good, key, key+"Content-Length : 5\r\n", 1), 400},
		{"row 5: a body in a line that continues another", strings.Replace(good, key, key+"X: y\r\n Content-Length: 5\r\n", 1), 400},
		{"row 5: a field with a control character", strings.Replace(good, key, key+"X: a\rb\r\n", 1), 400},
		{"row 5: a host of two", strings.Replace(good, "Host: x", "Host: x y", 1), 400},
		{"row 6: another origin", strings.Replace(good, key, key+"Origin: http://evil\r\n", 1), 403},
		{"row 6: the same origin", strings.Replace(good, key, key+"Origin: http://X:80\r\n", 1), 101},
		{"row 7: version 8", strings.Replace(good, "13", "8", 1), 426},
		{"row 7: HTTP/1.0", strings.Replace(good, "HTTP/1.1", "HTTP/1.0", 1), 400},
		{"row 7: no upgrade", strings.Replace(good, "Upgrade: websocket", "Upgrade: h2c", 1), 426},
		{"row 7: POST", strings.Replace(good, "GET", "POST", 1), 405},
		{"the end within the head", good[:40], 400},
	}
	for _, tt := range tests {
		for name, cut := range map[string]func(int) int{"whole": whole, "cut": randomly} {
			t.Run(tt.name+"/"+name, func(t *testing.T) {
				d := shake(&Handler{}, tt.in, cut)
				status, header := statusOf(t, d.out)
				if status != tt.status {
					t.Errorf("status %d, want %d: %s", status, tt.status, d.out)
				}
				if connected := len(d.seen) > 0; connected != (status == 101) {
					t.Errorf("events %q", d.seen)
				}
				if status == 426 && header.Get("Sec-Websocket-Version") == "" && header.Get("Upgrade") == "" {
					t.Errorf("426 says not what is wanted: %v", header)
				}
				if status != 101 && !errors.Is(d.err, handlers.ErrProtocol) && !errors.Is(d.err, handlers.ErrPolicy) {
					t.Errorf("error %v", d.err)
				}
			})
		}
	}
}

func TestAccept(t *testing.T) {
	_, header := statusOf(t, shake(&Handler{}, good, whole).out)
	if got, want := header.Get("Sec-Websocket-Accept"), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="; got != want {
		t.Errorf("Sec-WebSocket-Accept = %q, want %q", got, want)
	}
}

func TestSubprotocols(t *testing.T) {
	for _, tt := range []struct {
		offered string
		ours    []string
		want    string
	}{
		{"", nil, ""},
		{"a, b", nil, ""},
		{"a, b", []string{"c", "b", "a"}, "b"},
		{"a", []string{"c"}, ""},
		{"", []string{"c"}, ""},
		{"A", []string{"a"}, ""}, // case counts
		{"ab, b", []string{"a", "b"}, "b"},
		{"a b, b", []string{"a", "b"}, "b"},
		{"a\nb", []string{"c", "b", "a"}, "b"}, // in several header lines
		{"a\nb, c\nd", []string{"d", "c"}, "d"},
		{"b\na", []string{"a", "b"}, "a"}, // the first of the server's list that is offered
		{"a, a", []string{"a"}, "a"},
		{"a\na", []string{"a"}, "a"},
		{"A, a", []string{"a"}, "a"},
		{"a, A", []string{"A", "a"}, "A"},
		{", ,a,", []string{"a"}, "a"},
		{"\t a \t,\tb", []string{"b"}, "b"},
		{`"a", b`, []string{"a", "b"}, "b"}, // not a token
		{"a;q=1, b", []string{"a", "b"}, "b"},
		{"*", []string{"a"}, ""},
		{"v1.chat+json", []string{"v1.chat+json"}, "v1.chat+json"},
	} {
		lines := ""
		if tt.offered != "" {
			for one := range strings.SplitSeq(tt.offered, "\n") {
				lines += "Sec-WebSocket-Protocol: " + one + "\r\n"
			}
		}
		in := strings.Replace(good, key, key+lines, 1)
		status, header := statusOf(t, shake(&Handler{Protocols: tt.ours}, in, whole).out)
		if got := header.Get("Sec-Websocket-Protocol"); status != 101 || got != tt.want {
			t.Errorf("%q of %q: %d %q, want %q", tt.offered, tt.ours, status, got, tt.want)
		}
	}
}

// Frames that come together with the request are not lost: row 1.
func TestTraps4Row1EarlyFrames(t *testing.T) {
	for name, cut := range map[string]func(int) int{"whole": whole, "bytewise": bytewise} {
		d := shake(&Handler{}, good+frame(text, true, "early")+normal, cut)
		if got := fmt.Sprint(d.seen); got != "[connect websocket text early]" {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// A handshake that is incomplete at a timeout or at a shutdown is answered: row 2.
func TestTraps4Row2NoTime(t *testing.T) {
	for err, want := range map[error]int{handlers.ErrTimeout: 408, handlers.ErrShutdown: 503} {
		s := &handshake{handler: &Handler{}, info: &handlers.Info{}}
		status, header := statusOf(t, s.AppendClose(nil, err))
		if status != want || status == 503 && header.Get("Retry-After") == "" {
			t.Errorf("%v: %d %v", err, status, header)
		}
	}
}

// port is a handlers.Port that only attaches.
type port struct {
	attached chan handlers.Attachment
	failed   chan error
}

func (p *port) Attach(_ handlers.Conn, a handlers.Attachment) { p.attached <- a }
func (p *port) Connect(*handlers.Info, handlers.Stream) (handlers.Client, error) {
	panic("not used")
}
func (p *port) Fail(_ *handlers.Info, err error) { p.failed <- err }
func (p *port) Route(handlers.Conn)              { panic("not used") }
func (p *port) Go(f func())                      { go f() }

// upgrading serves h.Upgrade on a port of loopback.
func upgrading(t *testing.T, h *Handler) (addr string, p *port) {
	t.Helper()
	p = &port{attached: make(chan handlers.Attachment, 1), failed: make(chan error, 1)}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	type connKey struct{}
	s := &http.Server{
		ConnContext: func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, connKey{}, c) },
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			nc := r.Context().Value(connKey{}).(net.Conn)
			t.Cleanup(func() { nc.Close() })
			h.Upgrade(w, r, handlers.Wrap(nil, nc, &handlers.Info{}), p)
		}),
	}
	go s.Serve(l) // ends with Close
	t.Cleanup(func() { s.Close() })
	return l.Addr().String(), p
}

// A late upgrade does not lose frames that net/http has read already: row 8.
func TestTraps4Row8LateUpgrade(t *testing.T) {
	addr, p := upgrading(t, &Handler{})
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	early := frame(text, true, "early")
	if _, err := io.WriteString(c, good+early); err != nil {
		t.Fatal(err)
	}
	br := bufio.NewReader(c)
	resp, err := http.ReadResponse(br, nil)
	if err != nil || resp.StatusCode != 101 {
		t.Fatalf("%v, %v", resp, err)
	}
	a := <-p.attached
	if a.Info.Protocol != handlers.ProtocolWebSocket || a.Info.Request.URL.Path != "/chat" || a.Handshake {
		t.Errorf("attached %+v", a)
	}
	d := &driver{codec: a.Codec}
	d.turn(a.Unread, false)
	if got := fmt.Sprint(d.seen); string(a.Unread) == early && got != "[text early]" || len(a.Unread) > 0 && string(a.Unread) != early {
		t.Errorf("unread %q, messages %s", a.Unread, got)
	}
}

func TestLateUpgradeIsRefused(t *testing.T) {
	addr, p := upgrading(t, &Handler{CheckOrigin: func(*http.Request) bool { return false }})
	d := ws.Dialer{}
	var status ws.StatusError
	if _, _, _, err := d.Dial(context.Background(), "ws://"+addr); !errors.As(err, &status) || int(status) != 403 {
		t.Errorf("dial: %v, want 403", err)
	}
	if err := <-p.failed; !errors.Is(err, handlers.ErrPolicy) {
		t.Errorf("failed with %v", err)
	}
}

// A panic of CheckOrigin costs only its handshake, which is answered with 500.
func TestCheckOriginPanics(t *testing.T) {
	funcs.Covered(t, "Handler.CheckOrigin")
	panics := true
	addr, p := upgrading(t, &Handler{CheckOrigin: func(*http.Request) bool {
		if panics {
			panic("of the program")
		}
		return true
	}})
	d := ws.Dialer{}
	var status ws.StatusError
	if _, _, _, err := d.Dial(context.Background(), "ws://"+addr); !errors.As(err, &status) || int(status) != 500 {
		t.Errorf("dial: %v, want 500", err)
	}
	if err := <-p.failed; !errors.Is(err, handlers.ErrPanic) {
		t.Errorf("failed with %v", err)
	}
	panics = false
	c, _, _, err := d.Dial(context.Background(), "ws://"+addr)
	if err != nil {
		t.Fatalf("the next dial: %v", err)
	}
	defer c.Close()
	<-p.attached
}
