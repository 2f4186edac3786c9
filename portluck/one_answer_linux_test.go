package portluck

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// plainShake is an opening handshake without its end.
const plainShake = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"

// manyWays are requests that two parsers could read in different ways, or two handlers could answer
// in different ways, each with its one right answer.
var manyWays = []struct {
	name, raw string
	want      int
}{
	{"a handshake", plainShake + "\r\n", 101},
	{"in another order", "GET / HTTP/1.1\r\n" + upgradeTo + "Host: localhost\r\n\r\n", 101},
	{"fields in lower case", "GET / HTTP/1.1\r\n" + strings.ToLower(plainShake[len("GET / HTTP/1.1\r\n"):]) + "\r\n", 101},
	{"line feeds alone", strings.ReplaceAll(plainShake, "\r\n", "\n") + "\n", 101},
	{"Upgrade in a list", strings.Replace(plainShake, "websocket", "h2c, WebSocket", 1) + "\r\n", 101},
	{"Connection in two fields", plainShake + "Connection: keep-alive\r\n\r\n", 101},
	{"Connection: close too", strings.Replace(plainShake, "Connection: Upgrade", "Connection: close, Upgrade", 1) + "\r\n", 101},
	{"no Connection: Upgrade", strings.Replace(plainShake, "Connection: Upgrade\r\n", "", 1) + "\r\n", 200},
	{"Connection without Upgrade", strings.Replace(plainShake, "Connection: Upgrade", "Connection: keep-alive", 1) + "\r\n", 200},
	{"no Upgrade", strings.Replace(plainShake, "Upgrade: websocket\r\n", "", 1) + "\r\n", 200},
	{"Upgrade to something else", strings.Replace(plainShake, "websocket", "foo", 1) + "\r\n", 200},
	{"an obs-fold", plainShake + "X: a\r\n b\r\n\r\n", 101},
	{"a folded key", strings.Replace(plainShake, "Key: ", "Key:\r\n ", 1) + "\r\n", 101},
	{"a folded Upgrade", strings.Replace(plainShake, "Upgrade: websocket", "Upgrade:\r\n websocket", 1) + "\r\n", 101},
	{"a folded Host", strings.Replace(plainShake, "localhost", "local\r\n host", 1) + "\r\n", 400},
	{"Expect: foo", plainShake + "Expect: foo\r\n\r\n", 417},
	{"Expect: 100-continue", plainShake + "Expect: 100-continue\r\n\r\n", 101},
	{"Transfer-Encoding: foo", plainShake + "Transfer-Encoding: foo\r\n\r\n", 501},
	{"Transfer-Encoding: chunked", plainShake + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
	{"Content-Length: 0", plainShake + "Content-Length: 0\r\n\r\n", 101},
	{"Content-Length: 1", plainShake + "Content-Length: 1\r\n\r\nx", 400},
	{"Content-Length: x", plainShake + "Content-Length: x\r\n\r\n", 400},
	{"two lengths", plainShake + "Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx", 400},
	{"HTTP/1.0", strings.Replace(plainShake, "HTTP/1.1", "HTTP/1.0", 1) + "\r\n", 200},
	{"HTTP/1.2", strings.Replace(plainShake, "HTTP/1.1", "HTTP/1.2", 1) + "\r\n", 101},
	{"HTTP/2.0", strings.Replace(plainShake, "HTTP/1.1", "HTTP/2.0", 1) + "\r\n", 505},
	{"POST", strings.Replace(plainShake, "GET", "POST", 1) + "\r\n", 200},
	{"HEAD", strings.Replace(plainShake, "GET", "HEAD", 1) + "\r\n", 200},
	{"get", strings.Replace(plainShake, "GET", "get", 1) + "\r\n", 200},
	{"no version", strings.Replace(plainShake, "Sec-WebSocket-Version: 13\r\n", "", 1) + "\r\n", 426},
	{"version 8", strings.Replace(plainShake, "13", "8", 1) + "\r\n", 426},
	{"two versions", plainShake + "Sec-WebSocket-Version: 8\r\n\r\n", 426},
	{"no key", "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\n", 400},
	{"two keys", plainShake + "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", 400},
	{"a short key", strings.Replace(plainShake, "dGhl", "", 1) + "\r\n", 400},
	{"no Host", strings.Replace(plainShake, "Host: localhost\r\n", "", 1) + "\r\n", 400},
	{"an empty Host", strings.Replace(plainShake, "Host: localhost", "Host:", 1) + "\r\n", 400},
	{"two Hosts", plainShake + "Host: localhost\r\n\r\n", 400},
	{"a malformed Host", strings.Replace(plainShake, "localhost", "a b", 1) + "\r\n", 400},
	{"another Host", strings.Replace(plainShake, "localhost", "evil.example", 1) + "\r\n", 421},
	{"another origin", plainShake + "Origin: http://evil.example\r\n\r\n", 403},
	{"the same origin", plainShake + "Origin: SCHEME://localhost\r\n\r\n", 101},
	{"an absolute target", strings.Replace(plainShake, "GET /", "GET http://localhost/", 1) + "\r\n", 101},
	{"an absolute target of another", strings.Replace(plainShake, "GET /", "GET http://evil.example/", 1) + "\r\n", 421},
	{"a target with a fragment", strings.Replace(plainShake, "GET /", "GET /#a", 1) + "\r\n", 101},
	{"a target that is not ASCII", strings.Replace(plainShake, "GET /", "GET /\xc3\xa9", 1) + "\r\n", 101},
	{"a malformed target", strings.Replace(plainShake, "GET /", "GET /%zz", 1) + "\r\n", 400},
	{"a malformed query", strings.Replace(plainShake, "GET /", "GET /?%zz", 1) + "\r\n", 101},
	{"a space before the colon", plainShake + "X : a\r\n\r\n", 400},
	{"a field without a colon", plainShake + "X\r\n\r\n", 400},
	{"a field without a name", plainShake + ": a\r\n\r\n", 400},
	{"a NUL in a value", plainShake + "X: a\x00b\r\n\r\n", 400},
	{"a CR in a value", plainShake + "X: a\rb\r\n\r\n", 400},
	{"Latin-1 in a value", plainShake + "X: \xe9\r\n\r\n", 101},
	{"400 fields", plainShake + strings.Repeat("A: b\r\n", 400) + "\r\n", 101},
	{"20 KiB", plainShake + "A: " + strings.Repeat("b", 20<<10) + "\r\n\r\n", 101},
	{"20 KiB before what matters", "GET / HTTP/1.1\r\nA: " + strings.Repeat("b", 20<<10) + plainShake[len("GET / HTTP/1.1"):] + "\r\n", 101},
	{"60 KiB", plainShake + "A: " + strings.Repeat("b", 60<<10) + "\r\n\r\n", 101},
	{"80 KiB", plainShake + "A: " + strings.Repeat("b", 80<<10) + "\r\n\r\n", 431},
	{"a page", "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", 200},
	{"a POST", "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nhi\n", 200},
	{"CONNECT", "CONNECT localhost:80 HTTP/1.1\r\nHost: localhost:80\r\n\r\n", 405},
}

// waysIn are the ways on which a request can come. Each returns a connection to a server and its
// reader, ready for a request and its answer.
var waysIn = []struct {
	name  string
	serve func(t *testing.T, s *Server) (net.Conn, *bufio.Reader)
}{
	{"plain", func(t *testing.T, s *Server) (net.Conn, *bufio.Reader) { return way(dial(t, serve(t, s))) }},
	{"plain, second", func(t *testing.T, s *Server) (net.Conn, *bufio.Reader) { return behindOne(t, dial(t, serve(t, s))) }},
	{"plain, read", func(t *testing.T, s *Server) (net.Conn, *bufio.Reader) {
		l := listen(t)
		serveOn(t, s, hiding{l})
		return way(dial(t, l.Addr().String()))
	}},
	{"Unix", func(t *testing.T, s *Server) (net.Conn, *bufio.Reader) { return way(throughUnix(t, s)) }},
	{"TLS", func(t *testing.T, s *Server) (net.Conn, *bufio.Reader) { return way(dialTLS(t, serve(t, s))) }},
	{"TLS, second", func(t *testing.T, s *Server) (net.Conn, *bufio.Reader) { return behindOne(t, dialTLS(t, serve(t, s))) }},
	{"ALPN", func(t *testing.T, s *Server) (net.Conn, *bufio.Reader) {
		return way(dialTLS(t, serve(t, s), "http/1.1"))
	}},
	{"ALPN, second", func(t *testing.T, s *Server) (net.Conn, *bufio.Reader) {
		return behindOne(t, dialTLS(t, serve(t, s), "http/1.1"))
	}},
}

func way(c net.Conn) (net.Conn, *bufio.Reader) { return c, bufio.NewReader(c) }

// behindOne sends a request on c and reads its answer.
func behindOne(t *testing.T, c net.Conn) (net.Conn, *bufio.Reader) {
	t.Helper()
	_, r := way(c)
	send(t, c, "GET /before HTTP/1.1\r\nHost: localhost\r\n\r\n")
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	return c, r
}

// throughUnix serves s on a Unix socket until the test ends.
func throughUnix(t *testing.T, s *Server) net.Conn {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	serveOn(t, s, l)
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	return c
}

// A request has the same answer, the same events and the same end on every way into the port.
func TestOneAnswer(t *testing.T) {
	t.Parallel()
	for _, tt := range manyWays {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			first := ""
			for _, in := range waysIn {
				t.Run(in.name, func(t *testing.T) {
					hub, e := record(nil)
					s := &Server{
						Hub: hub, TLSConfig: withTLS(), Hosts: []string{"localhost"}, SniffTimeout: time.Minute,
						Pages: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, "%s %s", r.Method, r.RequestURI) }),
					}
					if tt.want == http.StatusMisdirectedRequest && in.name == "Unix" {
						return // a Unix socket, whose server has no names
					}
					c, r := in.serve(t, s)
					scheme := "http"
					if _, ok := c.(*tls.Conn); ok {
						scheme = "https"
					}
					raw := strings.Replace(tt.raw, "SCHEME", scheme, 1)
					// If the answer leaves the connection open, what follows is served as the next
					// request. For a WebSocket it is a malformed frame.
					go func() {
						_, _ = io.WriteString(c, raw+"GET /next HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
					}()
					got := answers(t, r, raw)
					c.Close()
					ctx, cancel := context.WithTimeout(t.Context(), patience)
					defer cancel()
					if err := s.Shutdown(ctx); err != nil { // after it all events have come
						t.Fatal(err)
					}
					events := e.all()
					slices.Sort(events) // OnError may run beside the other events
					switch course := insecure.Replace(fmt.Sprintf("%s\nevents %q", got, events)); {
					case !strings.HasPrefix(got, fmt.Sprint(tt.want, " ")):
						t.Errorf("%s\nwant %d", course, tt.want)
					case first == "":
						first = course
					case course != first:
						t.Errorf("got %s\nwant, as by the first way, %s", course, first)
					}
				})
			}
		})
	}
}

// insecure replaces the names of protocols over TLS by those without it.
var insecure = strings.NewReplacer("connect https", "connect http", "connect wss", "connect ws", "disconnect https", "disconnect http", "disconnect wss", "disconnect ws")

// answers reads to the end, and returns the parts of each answer by which a client can tell it from
// others.
func answers(t *testing.T, r *bufio.Reader, raw string) string {
	t.Helper()
	method, _, _ := strings.Cut(raw, " ")
	var all []string
	for {
		resp, err := http.ReadResponse(r, &http.Request{Method: strings.ToUpper(method)})
		if err != nil {
			return strings.Join(append(all, ending(err)), "; ")
		}
		if resp.StatusCode == http.StatusSwitchingProtocols {
			rest, err := io.ReadAll(r)
			return strings.Join(append(all, fmt.Sprintf("101 %q, %q, %s", resp.Header, rest, ending(err))), "; ")
		}
		body, err := io.ReadAll(resp.Body)
		all = append(all, fmt.Sprintf("%d %q closes=%t %v", resp.StatusCode, bytes.TrimSpace(body), resp.Close, err))
		method = http.MethodGet
	}
}

// ending returns how a connection has ended: cleanly or not.
func ending(err error) string {
	switch {
	case err == nil, errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "the end"
	}
	return err.Error()
}
