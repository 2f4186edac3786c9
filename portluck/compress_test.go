package portluck

import (
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsflate"
)

// dialDeflate connects a client that offers permessage-deflate, and reports whether that was
// accepted.
func dialDeflate(t *testing.T, url string) (c *wsClient, accepted bool) {
	t.Helper()
	d := ws.Dialer{Timeout: patience}
	d.Extensions = append(d.Extensions, wsflate.DefaultParameters.Option())
	nc, br, hs, err := d.Dial(context.Background(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(patience))
	if c = (&wsClient{nc, nc}); br != nil {
		c.r = br
	}
	return c, len(hs.Extensions) == 1
}

// sendPacked sends a compressed message.
func (c *wsClient) sendPacked(t *testing.T, s string) {
	t.Helper()
	f, err := wsflate.CompressFrame(ws.NewTextFrame([]byte(s)))
	if err == nil {
		err = ws.WriteFrame(c, ws.MaskFrame(f))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// receive reads a message, and reports whether it was compressed.
func (c *wsClient) receive(t *testing.T) (s string, packed bool) {
	t.Helper()
	h, err := ws.ReadHeader(c)
	if err != nil || h.Length > 1<<20 {
		t.Fatalf("%+v, %v", h, err)
	}
	f := ws.Frame{Header: h, Payload: make([]byte, h.Length)}
	if _, err := io.ReadFull(c, f.Payload); err != nil {
		t.Fatal(err)
	}
	if packed, _ = wsflate.IsCompressed(f.Header); packed {
		if f, err = wsflate.DecompressFrame(f); err != nil {
			t.Fatal(err)
		}
	}
	return string(f.Payload), packed
}

// With CompressMin, long messages are compressed for the clients that offer compression, also in
// rooms. Other clients see no difference.
func TestCompression(t *testing.T) {
	h := &Hub{}
	h.OnConnect = func(_ *Writer, c *Client) { _ = h.Room("room").Join(c) }
	h.OnMessage = func(m Message, w *Writer, _ *Client) {
		switch s := m.String(); {
		case s == "to all":
			h.Room("room").Publish(TextMessage(strings.Repeat("all ", 100)))
		case strings.HasPrefix(s, "secret"):
			_, _ = w.WriteString(s)
		default:
			_ = w.Send(m)
		}
	}
	addr := serve(t, &Server{Hub: h, CompressMin: 100})
	packer, accepted := dialDeflate(t, "ws://"+addr)
	if !accepted {
		t.Fatal("the offer was declined")
	}
	plain := dialWS(t, "ws://"+addr)
	long := strings.Repeat("long ", 100)
	for _, tt := range []struct {
		say    string
		packed bool
	}{{"short", false}, {long, true}, {"secret " + long, false}} {
		packer.sendPacked(t, tt.say)
		if got, packed := packer.receive(t); got != tt.say || packed != tt.packed {
			t.Errorf("%.20q came as %.20q, compressed: %t", tt.say, got, packed)
		}
		plain.send(t, Text, tt.say)
		if got, packed := plain.receive(t); got != tt.say || packed {
			t.Errorf("%.20q came as %.20q, compressed: %t", tt.say, got, packed)
		}
	}
	plain.send(t, Text, "to all")
	for c, want := range map[*wsClient]bool{packer: true, plain: false} {
		if got, packed := c.receive(t); got != strings.Repeat("all ", 100) || packed != want {
			t.Errorf("the room sent %.20q, compressed: %t, want %t", got, packed, want)
		}
	}
}

// Without CompressMin the offer is declined.
func TestCompressionIsOff(t *testing.T) {
	addr := serve(t, &Server{Hub: &Hub{OnMessage: func(m Message, w *Writer, _ *Client) { _ = w.Send(m) }}})
	c, accepted := dialDeflate(t, "ws://"+addr)
	if accepted {
		t.Error("the offer was accepted")
	}
	c.send(t, Text, "hello")
	c.expect(t, Text, "hello")
}
