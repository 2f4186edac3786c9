package portluck

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/portluck/portluck/handlers"
)

// A raw client that drips a message is ended; an HTTP body may take as long as it likes.
func TestMessageTimeout(t *testing.T) {
	const timeout = 200 * time.Millisecond
	ended := make(chan error, 2)
	addr := serve(t, &Server{MessageTimeout: timeout, Hub: &Hub{
		OnMessage:    func(m Message, w *Writer, _ *Client) { w.Send(m) },
		OnDisconnect: func(_ *Client, err error) { ended <- err },
	}})
	tests := []struct {
		name, head, want string
		err              error
	}{
		{"raw", "line\nx", "line\n", handlers.ErrTimeout},
		{"HTTP", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 11\r\nConnection: close\r\n\r\nx", "xxxxxxxxxx", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			nc, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			fmt.Fprint(nc, tt.head)
			for range 9 {
				time.Sleep(timeout / 5)
				fmt.Fprint(nc, "x")
			}
			fmt.Fprint(nc, "\n")
			if got, err := io.ReadAll(nc); !strings.Contains(string(got), tt.want) {
				t.Errorf("read %q, %v, want %q", got, err, tt.want)
			}
			if err := <-ended; err != tt.err {
				t.Errorf("disconnected with %v, want %v", err, tt.err)
			}
		})
	}
}
