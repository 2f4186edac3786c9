package portluck

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/portluck/portluck/handlers"
)

// A raw client, plain or inside TLS, that speaks or not, is refused with a line and FIN, before it
// has an event.
func TestHandshakeRefusesRaw(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, say, route string
		secure           bool
	}{
		{name: "plain", say: "x\ny\n", route: RouteRaw},
		{name: "TLS", say: "x\ny\n", route: RouteRaw, secure: true},
		{name: "silent", route: RouteSilent},
		{name: "silent in TLS", route: RouteSilent, secure: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			routes := make(chan string, 10)
			hub, refused := asking(func(_ context.Context, h *Handshake) error {
				if h.TLS == nil == tt.secure || h.Protocol != "" || h.Info.Protocol != "tcp" || h.Header != nil {
					t.Errorf("asked about %+v %+v", h.Info, h)
				}
				routes <- h.Route
				return &Refusal{Text: "who are you?"}
			})
			hub.OnConnect = func(*Writer, *Client) { t.Error("there was a client") }
			hub.OnDisconnect = func(*Client, error) { t.Error("there was a client") }
			s := &Server{Hub: hub, TLSConfig: withTLS(), SniffTimeout: time.Minute}
			if tt.say == "" {
				s.SniffTimeout = 200 * time.Millisecond
			}
			allowHandshakes(t, s)
			addr := serve(t, s)
			var c net.Conn
			if tt.secure {
				c = dialTLS(t, addr)
			} else {
				c = dial(t, addr)
			}
			send(t, c, tt.say)
			if got, err := io.ReadAll(c); string(got) != "error: who are you?\n" || err != nil {
				t.Errorf("read %q, %v, want the refusal and the end", got, err)
			}
			if got := awaited(t, routes); got != tt.route {
				t.Errorf("route %q, want %q", got, tt.route)
			}
			if r, ok := errors.AsType[*Refusal](awaited(t, refused)); !ok || r.Text != "who are you?" {
				t.Errorf("OnError(%v), want the refusal", r)
			}
			eventually(t, "the connection is gone", func() bool { return s.Stats().Open == 0 })
		})
	}
}

// An admitted raw client has its login in every event, also if it was silent first, and what it
// sends while it waits is not lost.
func TestHandshakeAdmitsRaw(t *testing.T) {
	t.Parallel()
	for _, silent := range []bool{false, true} {
		hub, _ := asking(func(_ context.Context, h *Handshake) error {
			h.User = "ann"
			return nil
		})
		said, greeted := make(chan string, 10), make(chan string, 10)
		user := func(c *Client) string {
			if l := c.Info().Login; l != nil {
				return l.User
			}
			return ""
		}
		hub.OnConnect = func(_ *Writer, c *Client) { greeted <- user(c) }
		hub.OnMessage = func(m Message, w *Writer, c *Client) { said <- user(c) + " says " + m.String() }
		s := &Server{Hub: hub}
		if silent {
			s.SniffTimeout = 20 * time.Millisecond
		}
		c := dial(t, serve(t, s))
		if !silent {
			send(t, c, "x\n")
		}
		if got := awaited(t, greeted); got != "ann" {
			t.Errorf("silent %t: connected as %q", silent, got)
		}
		if silent {
			send(t, c, "x\n")
		}
		if got := awaited(t, said); got != "ann says x" {
			t.Errorf("silent %t: %q", silent, got)
		}
	}
}

// upgradeWS dials a WebSocket and returns the status and the header of the answer.
func upgradeWS(t *testing.T, addr string, d ws.Dialer) (c *wsClient, status int, header http.Header) {
	t.Helper()
	status, header = http.StatusSwitchingProtocols, http.Header{}
	d.Timeout = patience
	d.OnStatusError = func(code int, _ []byte, answer io.Reader) {
		status = code
		if r, err := http.ReadResponse(bufio.NewReader(answer), nil); err == nil {
			header = r.Header
		}
	}
	d.OnHeader = func(key, value []byte) error {
		header.Add(string(key), string(value))
		return nil
	}
	nc, r, _, err := d.Dial(t.Context(), "ws://"+addr+"/chat")
	if nc == nil {
		return nil, status, header
	}
	t.Cleanup(func() { nc.Close() })
	if _, ok := errors.AsType[ws.StatusError](err); err != nil && !ok {
		t.Fatal(err)
	}
	_ = nc.SetDeadline(time.Now().Add(patience))
	c = &wsClient{nc, nc}
	if r != nil {
		c.r = r
	}
	return c, status, header
}

// A WebSocket is admitted before its 101: the answer has the header and the subprotocol that
// OnHandshake chooses. A refusal is a status, or a close code if it has one.
func TestHandshakeOfWebSocket(t *testing.T) {
	t.Parallel()
	hub, refused := asking(func(_ context.Context, h *Handshake) error {
		if h.Request.URL.Path != "/chat" || h.Info.Protocol != "websocket" {
			t.Errorf("asked about %q %q", h.Info.Protocol, h.Request.URL.Path)
		}
		h.Header.Set("Set-Cookie", "a=b\r\nX-Split: 1")
		h.Header.Set("Connection", "close")
		h.Header["sec-websocket-accept"] = []string{"x"}
		switch {
		case slices.Contains(h.Protocols, "bearer.bad"):
			return &Refusal{Status: 401, Text: "log in"}
		case slices.Contains(h.Protocols, "bearer.closed"):
			return &Refusal{Close: 4001, Text: "log in", Status: 401}
		}
		h.User, h.Protocol = "ann", "chat"
		return nil
	})
	users := make(chan string, 10)
	hub.OnConnect = func(_ *Writer, c *Client) { users <- c.Info().Login.User }
	addr := serve(t, &Server{Hub: hub, Protocols: []string{"other"}})

	_, status, header := upgradeWS(t, addr, ws.Dialer{Protocols: []string{"chat", "bearer.bad"}})
	if status != 401 || header.Get("Set-Cookie") != "a=b  X-Split: 1" {
		t.Errorf("refused: %d %v", status, header)
	}
	awaited(t, refused)

	c, status, _ := upgradeWS(t, addr, ws.Dialer{Protocols: []string{"other", "bearer.closed"}})
	if status != 101 {
		t.Fatalf("refused with a close code: %d, want 101", status)
	}
	c.expectClose(t, 4001)
	if r, ok := errors.AsType[*Refusal](awaited(t, refused)); !ok || r.Close != 4001 {
		t.Errorf("OnError(%v)", r)
	}

	c, status, header = upgradeWS(t, addr, ws.Dialer{Protocols: []string{"other", "chat"}})
	if status != 101 || header.Get("Set-Cookie") != "a=b  X-Split: 1" || header.Get("X-Split") != "" {
		t.Fatalf("admitted: %d %v", status, header)
	}
	if got := awaited(t, users); got != "ann" {
		t.Errorf("user %q", got)
	}
	c.send(t, Text, "hi")
	c.expect(t, Text, "hi")
}

// A client whose login ends is told so, in the words of its protocol, and has one OnDisconnect with
// that error.
func TestHandshakeExpires(t *testing.T) {
	t.Parallel()
	hub, _ := asking(func(_ context.Context, h *Handshake) error {
		h.Expires = time.Now().Add(300 * time.Millisecond)
		return nil
	})
	ended := make(chan error, 10)
	hub.OnDisconnect = func(_ *Client, err error) { ended <- err }
	addr := serve(t, &Server{Hub: hub})

	raw := dial(t, addr)
	send(t, raw, "x\n")
	if got, want := expectEnd(t, raw), "x\nerror: "+handlers.ErrExpired.Error()+"\n"; got != want {
		t.Errorf("raw: %q, want %q", got, want)
	}
	if err := awaited(t, ended); err != handlers.ErrExpired {
		t.Errorf("raw: OnDisconnect(%v)", err)
	}

	c, _, _ := upgradeWS(t, addr, ws.Dialer{})
	c.expectClose(t, 3000)
	c.Close()
	if err := awaited(t, ended); err != handlers.ErrExpired {
		t.Errorf("WebSocket: OnDisconnect(%v)", err)
	}
}
