package portluck

import (
	"fmt"
	"io"
	"strings"
	"testing"
)

// An empty line before the first request of a connection is skipped, on every way in and wherever
// the bytes are cut.
func TestEmptyLinesBeforeTheFirstRequest(t *testing.T) {
	t.Parallel()
	var all []client
	for _, way := range ways {
		if strings.Contains(way.name, "second") {
			continue
		}
		peekedAndRead(t, func(t2 *testing.T, serve func(*testing.T, *Server) string) {
			s := &Server{Hub: echoHub(), TLSConfig: withTLS(), SniffTimeout: sniffSoon / 2, Goroutines: byGoroutines}
			if way.set != nil {
				way.set(s)
			}
			allowHandshakes(t, s)
			addr := serve(t, s)
			for _, lines := range []string{"\r\n", "\n", "\r\n\n\r\n"} {
				for _, h := range heads {
					if strings.Contains(h.name, ",") {
						continue // these differ in how they are cut
					}
					c := client{way.connect(t, addr), h, fmt.Sprintf("%s: %s, %q, %s", t2.Name(), way.name, lines, h.name), s}
					if all = append(all, c); len(lines) > 2 {
						c.Conn = &dripping{c.Conn}
					}
					send(t, c, lines+strings.ReplaceAll(h.send, "|", ""))
				}
			}
		})
	}
	for _, c := range all {
		if got := joined(expectEnd(t, c)); statusOf(got) != c.status || !strings.HasSuffix(got, c.ends) {
			t.Errorf("%s: read %q, want %s", c.name, got, c.status)
		}
	}
}

// An empty line of a raw client is a message, even if what follows begins like a request.
func TestEmptyLinesOfRawClients(t *testing.T) {
	t.Parallel()
	peekedAndRead(t, func(t *testing.T, serve func(*testing.T, *Server) string) {
		for first, want := range map[string][]string{
			"\r\nhello\n":           {"message \r", "message hello"},
			"\nhello\n":             {"message ", "message hello"},
			"\r\n\r\nhello\r\n":     {"message \r", "message \r", "message hello\r"},
			"\r\nGETTING STARTED\n": {"message \r", "message GETTING STARTED"},
			"\r\nGET\n":             {"message \r", "message GET"},
			"\n{\"a\": 1}\n":        {"message ", "message {\"a\": 1}"},
			"\n\nhel":               {"message ", "message ", "message hel"},
		} {
			for _, secure := range []bool{false, true} {
				hub, e := record(nil)
				addr := serve(t, &Server{Hub: hub, TLSConfig: withTLS()})
				var c interface {
					io.ReadWriter
					CloseWrite() error
				} = dial(t, addr)
				scheme := "tcp"
				if secure {
					c, scheme = dialTLS(t, addr), "tls"
				}
				send(t, c, first)
				c.CloseWrite()
				_ = expectEnd(t, c)
				e.want(t, append(append([]string{"connect " + scheme}, want...), "disconnect "+scheme)...)
			}
		}
	})
}
