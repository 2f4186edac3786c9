package portluck

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// handshake is a WebSocket handshake without its end.
const handshake = "GET / HTTP/1.1\r\nHost: localhost\r\n" + upgradeTo

// refusals are requests that are refused, by us or by net/http, with the status.
var refusals = []struct {
	name, raw string
	want      int
}{
	{"no Host", "GET / HTTP/1.1\r\n\r\n", 400},
	{"two Hosts", "POST / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n", 400},
	{"a field without a colon", "POST / HTTP/1.1\r\nHost: localhost\r\nX\r\n\r\n", 400},
	{"a malformed length", "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n", 400},
	{"a malformed chunk", "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n\r\n", 400},
	{"another origin", "POST / HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\nContent-Length: 0\r\n\r\n", 403},
	{"another origin, with a body", "POST / HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\nContent-Length: 2\r\n\r\nx\n", 403},
	{"another origin, of events", "GET / HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\nAccept: text/event-stream\r\n\r\n", 403},
	{"another origin, of a preflight", "OPTIONS / HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\n\r\n", 403},
	{"another origin, mounted", "POST /api/ HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\nContent-Length: 0\r\n\r\n", 403},
	{"another origin, of a handshake", handshake + "Origin: http://evil.example\r\n\r\n", 403},
	{"a method", "DELETE / HTTP/1.1\r\nHost: localhost\r\n\r\n", 405},
	{"a method, with a body", "DELETE / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nx\n", 405},
	{"CONNECT", "CONNECT localhost:1 HTTP/1.1\r\nHost: localhost\r\n\r\n", 405},
	{"a long message", "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 20\r\n\r\n" + strings.Repeat("x", 20), 413},
	{"a long message, more to come", "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n14\r\n" + strings.Repeat("x", 20) + "\r\n", 413},
	{"a coding", "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\nx\n", 415},
	{"an expectation", "POST / HTTP/1.1\r\nHost: localhost\r\nExpect: foo\r\nContent-Length: 2\r\n\r\nx\n", 417},
	{"another host", "POST / HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 2\r\n\r\nx\n", 421},
	{"another host, of a handshake", strings.Replace(handshake, "localhost", "evil.example", 1) + "\r\n", 421},
	{"a handshake without a version", strings.Replace(handshake, "Sec-WebSocket-Version: 13\r\n", "", 1) + "\r\n", 426},
	{"a handshake without a key", "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\n", 400},
	{"a handshake with a body", handshake + "Content-Length: 1\r\n\r\nx", 400},
	{"a large head", "POST / HTTP/1.1\r\nHost: localhost\r\nX: " + strings.Repeat("x", 80<<10) + "\r\n\r\n", 431},
	{"a transfer coding", "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: foo\r\n\r\n", 501},
	{"a panic in OnConnect", "POST /full HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nx\n", 500},
	{"a head for which there is no memory", "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nX: " + strings.Repeat("x", 20<<10) + "\r\n\r\n", 503},
	{"a version", "POST / HTTP/3.0\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n", 505},
	{"a slow message", "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\nx", 408},
}

// following is sent in the same write as a request that is refused.
const following = "POST /following HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nfollowing"

// If a refusal says that the connection closes, it is the last answer on that connection. What
// follows in the same write is not served as a request (RFC 9112, section 9.6), on every way in.
func TestRefusalCloses(t *testing.T) {
	t.Parallel()
	ways := []struct {
		name string
		dial func(t *testing.T, addr string) net.Conn
	}{
		{"plain", func(t *testing.T, addr string) net.Conn { return dial(t, addr) }},
		{"TLS", func(t *testing.T, addr string) net.Conn { return dialTLS(t, addr) }},
		{"TLS, http/1.1", func(t *testing.T, addr string) net.Conn { return dialTLS(t, addr, "http/1.1") }},
	}
	for _, goroutines := range []bool{false, true} {
		for _, way := range ways {
			for name, first := range map[string]string{"first": "", "second": "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\na"} {
				for _, r := range refusals {
					t.Run(fmt.Sprintf("goroutines %t, %s, %s request, %s", goroutines, way.name, name, r.name), func(t *testing.T) {
						t.Parallel()
						h, e := record(echo)
						h.OnConnect = func(_ *Writer, c *Client) {
							if r := c.Info().Request; r != nil && r.URL.Path == "/full" {
								panic(http.ErrAbortHandler)
							}
						}
						s := &Server{Hub: h, TLSConfig: withTLS(), Goroutines: goroutines, MessageLimit: 10, RoomOf: func(*http.Request) (string, bool) { return "x", true }}
						switch r.want {
						case 408:
							s.MessageTimeout = 100 * time.Millisecond
						case 503:
							s.MaxPartial = 10 << 10
						}
						s.Mount("/api/", http.NotFoundHandler())
						c := way.dial(t, serve(t, s))
						in := bufio.NewReader(c)
						if first != "" {
							send(t, c, first)
							if resp := must(http.ReadResponse(in, nil)); resp.StatusCode != 200 {
								t.Fatal(resp.Status)
							} else if _, err := io.Copy(io.Discard, resp.Body); err != nil {
								t.Fatal(err)
							}
						}
						follow := following
						if r.want == 408 { // it would be the rest of the message
							follow = ""
						}
						// it may be refused before it is sent
						_, _ = io.WriteString(c, r.raw+follow)
						method, _, _ := strings.Cut(r.raw, " ")
						resp, err := http.ReadResponse(in, &http.Request{Method: method})
						if err != nil {
							t.Fatal(err)
						}
						if resp.StatusCode != r.want {
							t.Errorf("answered %s, want %d", resp.Status, r.want)
						}
						_, _ = io.Copy(io.Discard, resp.Body)
						closes := resp.Close || slices.ContainsFunc(resp.Header["Connection"], func(v string) bool { return strings.Contains(v, "close") })
						if !closes {
							if next, err := http.ReadResponse(in, nil); err != nil || next.StatusCode != 200 {
								t.Errorf("what follows a refusal that closes nothing: %v, %v", next, err)
							}
							return
						}
						rest, err := io.ReadAll(in)
						if errors.Is(err, os.ErrDeadlineExceeded) {
							t.Error("the connection is open")
						}
						if len(rest) > 0 {
							t.Errorf("after the refusal came %q", rest)
						}
						for _, event := range e.all() {
							if strings.Contains(event, "following") {
								t.Errorf("event %q", event)
							}
						}
					})
				}
			}
		}
	}
}
