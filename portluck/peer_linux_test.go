package portluck

import (
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/portluck/portluck/handlers"
)

// Info.Peer is the process of a client of a Unix socket, whatever it speaks. For a TCP client it is
// nil.
func TestPeerOfAUnixClient(t *testing.T) {
	t.Parallel()
	const upgrade = "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
	for _, first := range []string{"{}\n", upgrade, "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\na\n"} {
		for _, hide := range []bool{false, true} {
			var l net.Listener = must(Listen("unix:" + filepath.Join(t.TempDir(), "s")))[0]
			path := l.Addr().String()
			if hide {
				l = hiding{l}
			}
			got := make(chan *handlers.Peer, 1)
			s := &Server{
				Pages: http.NotFoundHandler(),
				Hub:   &Hub{OnConnect: func(_ *Writer, c *Client) { got <- c.Info().Peer }, OnMessage: func(Message, *Writer, *Client) {}},
			}
			serveOn(t, s, l)
			c := must(net.Dial("unix", path))
			t.Cleanup(func() { c.Close() })
			send(t, c, first)
			want := handlers.Peer{PID: os.Getpid(), UID: os.Getuid(), GID: os.Getgid()}
			if peer := <-got; peer == nil || *peer != want {
				t.Errorf("%.10q: Peer = %v, want %v", first, peer, want)
			}
		}
	}
	tcp := make(chan *handlers.Peer, 1)
	addr := serve(t, &Server{Hub: &Hub{OnConnect: func(_ *Writer, c *Client) { tcp <- c.Info().Peer }}})
	send(t, dial(t, addr), "{}\n")
	if peer := <-tcp; peer != nil {
		t.Errorf("over TCP Peer = %v", peer)
	}
}
