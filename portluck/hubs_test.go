package portluck

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

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

// 2,000 OnHandshakes run at once while an admitted client of the same server is served.
func TestHandshakesAtOnce(t *testing.T) {
	t.Parallel()
	const n = 2000
	var inside atomic.Int64
	release := make(chan struct{})
	hub, _ := asking(func(context.Context, *Handshake) error {
		if inside.Add(1) > 1 {
			<-release
		}
		return nil
	})
	s := &Server{Hub: hub, HandshakeTimeout: -1}
	c := dial(t, serve(t, s))
	send(t, c, "x\n")
	expect(t, c, "x\n") // it is admitted
	p, ended := must(s.start()), make(chan error, n)
	for range n {
		go func() { ended <- p.Admit(t.Context(), &Handshake{Info: &Info{}}) }() // ends with release
	}
	eventually(t, "all are asked about", func() bool { return inside.Load() == n+1 })
	send(t, c, "y\n")
	expect(t, c, "y\n")
	close(release)
	for range n {
		if err := awaited(t, ended); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "no call is counted", func() bool { return p.admissions.running.Load() == 0 })
}

// While OnHandshake waits for some clients, others of the same server are served, on both drivers.
func TestHandshakeDelaysNobodyElse(t *testing.T) {
	t.Parallel()
	const n = 64
	var inside atomic.Int64
	release := make(chan struct{})
	hub, _ := asking(func(context.Context, *Handshake) error {
		if inside.Add(1) > 1 {
			<-release
		}
		return nil
	})
	addr := serve(t, &Server{Hub: hub, HandshakeTimeout: -1})
	c := dial(t, addr)
	send(t, c, "x\n")
	expect(t, c, "x\n") // is admitted
	for range n {
		send(t, dial(t, addr), "late\n")
	}
	eventually(t, "all are asked about", func() bool { return inside.Load() == n+1 })
	send(t, c, "y\n")
	expect(t, c, "y\n")
	close(release)
}

// BenchmarkHandshake admits 2,000 raw clients whose OnHandshake takes 100 ms: it reports the time
// until the last one has its answer.
func BenchmarkHandshake(b *testing.B) {
	const n = 2000
	hub := &Hub{OnMessage: func(m Message, w *Writer, _ *Client) { _ = w.Send(m) }}
	hub.OnHandshake = func(context.Context, *Handshake) error {
		pauseFor(100 * time.Millisecond)
		return nil
	}
	addr := serve(b, &Server{Hub: hub})
	for b.Loop() {
		ended := make(chan struct{}, n)
		for range n {
			go func() { // ends with the echo
				defer func() { ended <- struct{}{} }()
				c := dial(b, addr)
				defer c.Close()
				send(b, c, "x\n")
				expect(b, c, "x\n")
			}()
		}
		for range n {
			<-ended
		}
	}
}
