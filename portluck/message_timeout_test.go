package portluck

import (
	"io"
	"strings"
	"testing"
	"time"

	"github.com/portluck/portluck/handlers"
)

// A client of any protocol that does not finish its message is ended, but not one that is silent
// between two messages.
func TestMessageTimeout(t *testing.T) {
	ended := make(chan error, 1)
	addr := serve(t, &Server{MessageTimeout: 200 * time.Millisecond, Hub: &Hub{
		OnMessage:    func(m Message, w *Writer, _ *Client) { w.Send(m) },
		OnDisconnect: func(_ *Client, err error) { ended <- err },
	}})
	const chunked = "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
	tests := []struct{ name, begin, want string }{
		{"raw", "line\nx", "line\n"},
		{"an HTTP body", chunked + "1\r\nx\r\n", "HTTP/1.1 408 Request Timeout\r\n"},
		{"an HTTP body that was answered", chunked + "6\r\nline\nx\r\n", "5\r\nline\n\r\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := dial(t, addr)
			send(t, c, tt.begin)
			if got, err := io.ReadAll(c); !strings.Contains(string(got), tt.want) || strings.HasSuffix(string(got), "0\r\n\r\n") {
				t.Errorf("read %q, %v, want %q", got, err, tt.want)
			}
			if err := <-ended; err != handlers.ErrTimeout {
				t.Errorf("disconnected with %v, want %v", err, handlers.ErrTimeout)
			}
		})
	}
	for _, begin := range []string{"", chunked} {
		c := dial(t, addr)
		send(t, c, begin)
		pauseFor(300 * time.Millisecond) // there is nothing else to wait for
		end := "x\n"
		if begin != "" {
			end = "2\r\nx\n\r\n0\r\n\r\n"
		}
		send(t, c, end)
		c.CloseWrite()
		if got := expectEnd(t, c); !strings.Contains(got, "x\n") {
			t.Errorf("%q, silence, %q: answered %q", begin, end, got)
		}
		if err := <-ended; err != nil {
			t.Errorf("%q, silence, %q: disconnected with %v", begin, end, err)
		}
	}
}
