package portluck

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/portluck/portluck/handlers"
)

// roomOf returns a hub and its room x, whose options are o.
func roomOf(o RoomOptions) (*Hub, *Room) {
	h := &Hub{RoomOptions: func(string) RoomOptions { return o }}
	return h, h.Room("x")
}

func publish(r *Room, from, to int) {
	for i := from; i <= to; i++ {
		r.Publish(TextMessage(fmt.Sprint(i)))
	}
}

// A WebSocket client that was too slow gets close 1013 when it reads.
func TestRoomTellsASlowClient(t *testing.T) {
	t.Parallel()
	h, r := roomOf(RoomOptions{Ring: 4})
	h.OnConnect = func(_ *Writer, c *Client) { r.Join(c) }
	gone := make(chan error, 1)
	h.OnDisconnect = func(_ *Client, err error) { gone <- err }
	for _, scheme := range []string{"ws", "wss"} {
		c := dialWS(t, scheme+"://"+serve(t, &Server{Hub: h, TLSConfig: withTLS()}))
		eventually(t, "it is there", func() bool { return r.Len() == 1 })
		for r.Stats().Slow == 0 {
			r.Publish(Message{Data: bytes.Repeat([]byte("x"), 64<<10)})
			pauseFor(100 * time.Microsecond)
		}
		for {
			head, err := ws.ReadHeader(c)
			body := make([]byte, head.Length)
			if err == nil {
				_, err = io.ReadFull(c, body)
			}
			if err == nil && head.OpCode != ws.OpClose {
				continue
			}
			if code, _ := ws.ParseCloseFrameData(body); code != 1013 || err != nil {
				t.Errorf("%s: closed with %d, %v, want 1013", scheme, code, err)
			}
			break
		}
		c.Close()
		if err := <-gone; err != handlers.ErrSlow {
			t.Errorf("%s: OnDisconnect got %v", scheme, err)
		}
		eventually(t, "it has left", func() bool { return r.Len() == 0 })
	}
}

// A client of server-sent events that does not read is disconnected within Timeout.
func TestEventsStuckClient(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		policy  Policy
		timeout time.Duration
	}{
		{"too slow for its room", Disconnect, time.Hour},
		{"too slow for its connection", SkipToLatest, time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h, r := roomOf(RoomOptions{Ring: 4, Policy: tt.policy})
			gone := make(chan error, 1)
			h.OnDisconnect = func(_ *Client, err error) { gone <- err }
			addr := serve(t, &Server{Hub: h, Timeout: tt.timeout, RoomOf: func(*http.Request) (string, bool) { return "x", true }})
			c := dial(t, addr)
			fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n")
			eventually(t, "it is there", func() bool { return r.Len() == 1 })
			late := time.After(patience)
			for {
				select {
				case err := <-gone:
					if err != handlers.ErrSlow {
						t.Errorf("OnDisconnect got %v", err)
					}
					return
				case <-late:
					t.Fatal("it is still there")
				default:
					r.Publish(Message{Data: bytes.Repeat([]byte("x"), 64<<10)})
					pauseFor(time.Millisecond)
				}
			}
		})
	}
}
