package portluck

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/gobwas/ws"
)

// Each client belongs to the hub that HubOf returns: by path over HTTP and WebSocket, by route for
// raw clients. Each hub asks its own OnHandshake. A panic of HubOf refuses the client.
func TestHubOf(t *testing.T) {
	t.Parallel()
	named := func(name string) *Hub {
		h := &Hub{}
		h.OnMessage = func(m Message, w *Writer, c *Client) { _ = w.Send(TextMessage(fmt.Sprintf("%s %d", name, c.ID()))) }
		return h
	}
	chat, door, other := named("chat"), named("door"), named("other")
	door.OnHandshake = func(context.Context, *Handshake) error { return &Refusal{Status: 401} }
	refused := make(chan error, 10)
	door.OnError = func(_ *Info, err error) { refused <- err }
	s := &Server{Hub: other}
	s.HubOf = func(h *Handshake) *Hub {
		switch {
		case h.Request == nil:
			return nil
		case strings.HasPrefix(h.Request.URL.Path, "/chat"):
			return chat
		case h.Request.URL.Path == "/panic":
			panic("of the program")
		}
		return door
	}
	addr := serve(t, s)
	for _, tt := range []struct{ path, want string }{
		{"/chat/1", "200 OK chat 1"},
		{"/door", "401 Unauthorized unauthorized"},
		{"/chat/2", "200 OK chat 2"},
		{"/panic", "500 Internal Server Error Internal Server Error"},
	} {
		r, body := postTo(t, "http://"+addr+tt.path, nil)
		if got := r.Status + " " + strings.TrimSpace(body); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.path, got, tt.want)
		}
	}
	awaited(t, refused)
	c := dialWS(t, "ws://"+addr+"/chat")
	c.send(t, Text, "x")
	c.expect(t, Text, "chat 3")
	if _, status, _ := upgradeWS(t, addr, ws.Dialer{}); status != 101 {
		t.Errorf("WebSocket of /chat: %d", status)
	}
	raw := dial(t, addr)
	send(t, raw, "x\n")
	expect(t, raw, "other 1\n")
	eventually(t, "three clients are connected", func() bool { return s.Stats().Clients == 3 })
}
