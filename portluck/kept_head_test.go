package portluck

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
)

// The long head of a WebSocket handshake counts for MaxPartial until its client ends, even if the
// handshake is a later request of its connection. A client whose head exceeds MaxPartial is
// refused.
func TestKeptHeadsCount(t *testing.T) {
	t.Parallel()
	const size, most = 6 << 10, 24 << 10
	handshake := "GET / HTTP/1.1\r\nHost: localhost\r\n" + upgradeTo + "X: " + strings.Repeat("x", size) + "\r\n\r\n"
	for name, first := range map[string]string{"first": "", "later": "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"} {
		for _, secure := range []bool{false, true} {
			for _, goroutines := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s, TLS %t, goroutines %t", name, secure, goroutines), func(t *testing.T) {
					t.Parallel()
					s := &Server{TLSConfig: withTLS(), Goroutines: goroutines, MaxPartial: most, Pages: http.NotFoundHandler()}
					addr := serve(t, s)
					open := func() (net.Conn, int) {
						var c net.Conn = dial(t, addr)
						if secure {
							c = dialTLS(t, addr, "http/1.1")
						}
						in, status := bufio.NewReader(c), 0
						for _, request := range []string{first, handshake} {
							if request == "" {
								continue
							}
							send(t, c, request)
							resp := must(http.ReadResponse(in, nil))
							resp.Body.Close() // which reads it
							status = resp.StatusCode
						}
						return c, status
					}
					client, status := open()
					if status != http.StatusSwitchingProtocols {
						t.Fatalf("status %d", status)
					}
					if got := s.Stats().Partial; got < size || got > 2*size {
						t.Errorf("%d bytes are held of a head of %d", got, size)
					}
					var others []net.Conn
					for range 3 {
						c, got := open()
						if others = append(others, c); got != http.StatusSwitchingProtocols {
							status = got
						}
					}
					if status != http.StatusServiceUnavailable {
						t.Errorf("status %d, want that of a client that is too much", status)
					}
					for _, c := range append(others, client) {
						c.Close()
					}
					eventually(t, "nothing is held", func() bool { return s.Stats().Partial == 0 })
				})
			}
		}
	}
}
