package portluck

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
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/udp"
)

// Kick ends a client of every protocol with the farewell of its error, and with one OnDisconnect
// that gets the error. A client that goes on sending is heard no more, and is closed.
func TestKick(t *testing.T) {
	t.Parallel()
	const answered = "the answer has begun"
	busy := &Refusal{Status: 429, Text: "slow down", RetryAfter: time.Second}
	for _, err := range []error{handlers.ErrPolicy, nil, busy, handlers.ErrExpired} {
		want := err
		if want == nil {
			want = handlers.ErrPolicy
		}
		f, _ := handlers.FarewellOf(want)
		hub, e := record(nil)
		hub.OnMessage = func(m Message, w *Writer, c *Client) {
			e.note("message " + m.String())
			switch m.String() {
			case answered:
				_, _ = w.WriteString("begun")
			case "kick me":
				<-c.Context().Done()
			}
		}
		s := &Server{Hub: hub, TLSConfig: withTLS(), RoomOf: func(*http.Request) (string, bool) { return "room", true }}
		addr := servePackets(t, s, &udp.Server{})
		for _, tt := range []struct {
			name string
			ends func(begin func(), c net.Conn) string
			dial func() net.Conn
			want string
		}{
			{"raw", rawEnds, func() net.Conn { return dial(t, addr) }, "error: " + f.Line + "\n"},
			{"tls", rawEnds, func() net.Conn { return dialTLS(t, addr) }, "error: " + f.Line + "\n"},
			{"ws", closeOf, func() net.Conn { return dialWS(t, "ws://"+addr) }, fmt.Sprintf("%d %s", f.Close, f.Text)},
			{"wss", closeOf, func() net.Conn { return dialWS(t, "wss://"+addr) }, fmt.Sprintf("%d %s", f.Close, f.Text)},
			{"http", postEnds("a"), func() net.Conn { return dial(t, addr) }, fmt.Sprintf("%d %s\n", f.Status, f.Body())},
			{"small post", smallPost, func() net.Conn { return dial(t, addr) }, fmt.Sprintf("%d %s\n", f.Status, f.Body())},
			{"answered", postEnds(answered), func() net.Conn { return dial(t, addr) }, "200 begun, unexpected EOF"},
			{"events", eventsEnd, func() net.Conn { return dial(t, addr) }, "200"},
			{"udp", udpEnds, func() net.Conn { return dialUDP(t, addr) }, ""},
		} {
			t.Run(fmt.Sprint(tt.name, " ", want), func(t *testing.T) {
				n := hub.Len()
				var ctx context.Context
				begin := func() {
					eventually(t, "the client is here", func() bool { return hub.Len() == n+1 })
					c := hub.Clients()[0]
					ctx = c.Context()
					c.Kick(err)
					c.Kick(errors.New("another reason"))
				}
				c := tt.dial()
				if got := tt.ends(begin, c); got != tt.want {
					t.Errorf("the client got %q, want %q", got, tt.want)
				}
				c.Close()
				if ctx == nil {
					t.FailNow()
				}
				<-ctx.Done()
				if got := context.Cause(ctx); !errors.Is(got, want) {
					t.Errorf("the cause of Context is %v, want %v", got, want)
				}
				eventually(t, "the client is gone", func() bool { return hub.Len() == n })
			})
		}
		var ends []string
		eventually(t, "all are gone", func() bool {
			ends = nil
			for _, ev := range e.all() {
				if strings.HasPrefix(ev, "disconnect ") {
					ends = append(ends, ev)
				}
				if strings.Contains(ev, "late") {
					t.Errorf("event %q after Kick", ev)
				}
			}
			return len(ends) == 9
		})
		for _, ev := range ends {
			if !strings.HasSuffix(ev, ": "+want.Error()) {
				t.Errorf("%q, want an end with %q", ev, want)
			}
		}
	}
}

// rawEnds returns what a raw client reads that goes on sending.
func rawEnds(begin func(), c net.Conn) string {
	_, _ = io.WriteString(c, "hello\n")
	begin()
	for range 3 {
		_, _ = io.WriteString(c, "late\n")
	}
	got, err := io.ReadAll(c)
	if err != nil {
		return fmt.Sprint(string(got), " ", err)
	}
	return string(got)
}

// closeOf returns the close frame that a WebSocket client gets.
func closeOf(begin func(), c net.Conn) string {
	begin()
	_ = wsutil.WriteClientText(c, []byte("late"))
	h, err := ws.ReadHeader(c)
	if err != nil || h.OpCode != ws.OpClose || h.Length > 125 {
		return fmt.Sprint(h.OpCode, " ", err)
	}
	payload := make([]byte, h.Length)
	if _, err := io.ReadFull(c, payload); err != nil {
		return fmt.Sprint(err)
	}
	code, reason := ws.ParseCloseFrameData(payload)
	_ = ws.WriteFrame(c, ws.MaskFrame(ws.NewCloseFrame(ws.NewCloseFrameBody(code, ""))))
	return fmt.Sprintf("%d %s", code, reason)
}

// postEnds returns what a client gets that has sent one message of a longer body.
func postEnds(msg string) func(begin func(), c net.Conn) string {
	return func(begin func(), c net.Conn) string {
		fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\n\r\n", len(msg)+1, msg)
		r := bufio.NewReader(c)
		if msg != "a" { // the answer has begun
			if _, err := r.Peek(1); err != nil {
				return fmt.Sprint(err)
			}
		}
		begin()
		_, _ = io.WriteString(c, "5\r\nlate\n\r\n")
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			return fmt.Sprint(err)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			return fmt.Sprintf("%d %s, %v", resp.StatusCode, body, err)
		}
		return fmt.Sprintf("%d %s", resp.StatusCode, body)
	}
}

// smallPost returns the answer to a whole request, whose callback waits until its client is ended.
func smallPost(begin func(), c net.Conn) string {
	fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 7\r\n\r\nkick me")
	begin()
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return fmt.Sprint(err)
	}
	body, err := io.ReadAll(resp.Body)
	return fmt.Sprintf("%d %s%s", resp.StatusCode, body, strings.TrimSuffix(fmt.Sprint(err), "<nil>"))
}

// eventsEnd returns the status of an event stream, which ends.
func eventsEnd(begin func(), c net.Conn) string {
	fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return fmt.Sprint(err)
	}
	begin()
	_, _ = io.Copy(io.Discard, resp.Body)
	return fmt.Sprint(resp.StatusCode)
}

// udpEnds says hello in a datagram.
func udpEnds(begin func(), c net.Conn) string {
	_, _ = io.WriteString(c, "hello")
	begin()
	return ""
}
