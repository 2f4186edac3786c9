package portluck

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	stdlog "log"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/portluck/portluck/matchers"
	"github.com/portluck/portluck/testdata/need"
)

// mirror answers a request with everything that a handler can know about it.
func mirror(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		body = append(body, "\nand an error"...) // its text differs between servers
	}
	w.Header().Set("Content-Type", "text/plain")
	fmt.Fprintf(w, "%s %s %s %q\n", r.Method, r.RequestURI, r.Proto, r.Host)
	for _, name := range slices.Sorted(maps.Keys(r.Header)) {
		fmt.Fprintf(w, "%s: %q\n", name, r.Header[name])
	}
	fmt.Fprintf(w, "%d %v %x %q\n", r.ContentLength, r.TransferEncoding, sha256.Sum256(body), r.Trailer)
}

// These are parts of requests. oddRequest chooses one of each, nearly always a legal one.
var (
	oddLines = []string{
		"GET / HTTP/1.1", "POST /a HTTP/1.1", "PUT /a?b=c HTTP/1.1", "HEAD / HTTP/1.1", "DELETE /a/../b HTTP/1.1", "OPTIONS / HTTP/1.1",
		"PATCH //a//b HTTP/1.1", "GET http://localhost/x HTTP/1.1", "GET / HTTP/1.0", "POST / HTTP/1.0", "get / HTTP/1.1", "BREW /pot HTTP/1.1",
		"GET /%41%zz HTTP/1.1", "GET /a b HTTP/1.1", "GET  / HTTP/1.1", "GET / HTTP/1.1 ", "GET /\x80 HTTP/1.1", "GET / HTTP/1.9", "GET / HTTP/2.0",
		"GET / HTTP/3.0", "GET / HTTP/11.1", "GET / http/1.1", "GET /a#b HTTP/1.1", "TRACE / HTTP/1.1", "GET /" + strings.Repeat("a", 5000) + " HTTP/1.1",
		"G\x01T / HTTP/1.1", "GET /\x00 HTTP/1.1", "GET https://localhost:80/x HTTP/1.1", "GET http:///x HTTP/1.1", "SEARCH /a HTTP/1.1", "OPTIONS * HTTP/1.1",
	}
	oddHosts = []string{
		"Host: localhost", "Host: localhost:80", "host: LOCALHOST", "Host:localhost", "Host: 127.0.0.1", "Host: [::1]:80", "Host: a.example", "Host:", "",
		"Host: a b", "Host: a\r\nHost: b", "Host : a", "Host: a/b", "Host: a\r\n b", "Host: \xff", "Host: a,b", "Host: %61",
	}
	oddFields = []string{
		"A: b", "A:b", "A:\tb\t", "A: b\r\n c", "A: b\r\n\tc\r\n d", "A:", "A : b", ": b", "A", "A: \x00", "A: \x7f", "A: \xe9", "(A): b", "A: b\r", "A\r\n: b", " A: b",
		"Connection: close", "Connection: keep-alive", "Connection: Close, Foo", "Connection: Upgrade", "Upgrade: foo", "Upgrade: h2c", "Expect: 100-continue",
		"Expect: foo", "Expect: 100-Continue", "Cookie: a=b; c=d", "Pragma: no-cache", "Te: trailers", "Trailer: X", "Range: bytes=0-1", "Accept-Encoding: gzip",
		"X: " + strings.Repeat("y", 9000), "If-Match: *", "Origin: http://localhost", "Authorization: Basic YTpi", "Content-Type: a/b", "Upgrade: websocket",
		// some are longer than any buffer
		"Sec-WebSocket-Version: 13", "Max-Forwards: 0", "Via: 1.1 a", strings.TrimSuffix(strings.Repeat("F: g\r\n", 300), "\r\n"), "X: " + strings.Repeat("y", 100_000),
	}
	oddBodies = []string{
		"\r\n", "Content-Length: 0\r\n\r\n", "Content-Length: 5\r\n\r\nhello", "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", "Content-Length: 5, 5\r\n\r\nhello",
		"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", "Content-Length: +5\r\n\r\nhello", "Content-Length: -1\r\n\r\n", "Content-Length: 0x5\r\n\r\nhello", "Content-Length:\r\n\r\n",
		"Content-Length: 99999999999999999999\r\n\r\n", "Content-Length: 9\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
		"Transfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\n\r\n", "Transfer-Encoding: chunked\r\nTrailer: X\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n5\r\nhelloX\r\n",
		"Transfer-Encoding: chunked\r\n\r\nzz\r\n", "Transfer-Encoding: chunked\r\n\r\n5\nhello\n0\n\n", "Transfer-Encoding: Chunked\r\n\r\n0\r\n\r\n", "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
		"Transfer-Encoding: foo\r\n\r\n", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
		"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", "Transfer-Encoding: identity\r\n\r\n", "Transfer-Encoding:\r\n\r\n", "Content-Length: 20000\r\n\r\n" + strings.Repeat("z", 20000),
		"\n", "Content-Length: 5\n\nhello", "\r\n\r\n", "\r\n\r\n\r\n",
	}
)

// oddRequest makes up a request.
func oddRequest(r *rand.Rand) string {
	pick := func(all []string, legal int) string {
		if r.IntN(3) > 0 {
			return all[r.IntN(legal)]
		}
		return all[r.IntN(len(all))]
	}
	lines := []string{pick(oddLines, 12), pick(oddHosts, 6)}
	for range r.IntN(4) {
		lines = append(lines, pick(oddFields, 3))
	}
	r.Shuffle(len(lines)-1, func(i, j int) { lines[i+1], lines[j+1] = lines[j+1], lines[i+1] })
	lines = slices.DeleteFunc(lines, func(s string) bool { return s == "" })
	return strings.Join(lines, "\r\n") + "\r\n" + pick(oddBodies, 3)
}

// differs returns why net/http itself may answer raw otherwise than we do, or "" if it may not.
func differs(raw string) string {
	line, _, _ := strings.Cut(raw, "\n")
	switch {
	case matchers.HTTP1().Match(matchers.Hello{Bytes: []byte(raw), EOF: true}) != matchers.Yes:
		return "it does not begin like a request: it is for other protocols"
	case strings.Count(raw, "Origin: ") > 1:
		return "two origins are refused, whatever they are (RFC 6454, section 7.3)"
	case strings.Contains(raw, "Upgrade: websocket") && strings.Contains(raw, "Connection: Upgrade"):
		return "it shakes hands for a WebSocket, which is the hub's also where something is mounted"
	case strings.Contains(line, " * "):
		return "the target * is nobody's handler's: it is answered by us"
	}
	return ""
}

// A handler answers a request in the same way whether net/http alone serves it or a port does, on
// every way into the port.
func TestLikeNetHTTP(t *testing.T) {
	t.Parallel()
	seed, n := uint64(1), 1000
	if need.Long() {
		seed, n = uint64(time.Now().UnixNano()), 50_000
	}
	t.Logf("seed %d", seed)
	mux := http.NewServeMux()
	mux.HandleFunc("/", mirror)
	theirs := &http.Server{Handler: mux, MaxHeaderBytes: 64 << 10, DisableGeneralOptionsHandler: true, ErrorLog: stdlog.New(io.Discard, "", 0)}
	l := listen(t)
	go func() { _ = theirs.Serve(l) }() // ends with the test
	t.Cleanup(func() { theirs.Close() })
	s := &Server{Hub: &Hub{}, TLSConfig: withTLS(), Hosts: []string{"*"}, AllowOrigin: []string{"*"}}
	s.Mount("/", http.HandlerFunc(mirror))
	addr, hidden := serve(t, s), listen(t)
	serveOn(t, s, hiding{hidden})
	ways := map[string]func(t *testing.T) net.Conn{
		"plain":     func(t *testing.T) net.Conn { return dial(t, addr) },
		"read":      func(t *testing.T) net.Conn { return dial(t, hidden.Addr().String()) },
		"TLS":       func(t *testing.T) net.Conn { return dialTLS(t, addr) },
		"ALPN":      func(t *testing.T) net.Conn { return dialTLS(t, addr, "http/1.1") },
		"a second":  func(t *testing.T) net.Conn { c, _ := behindOne(t, dial(t, addr)); return c },
		"in pieces": func(t *testing.T) net.Conn { return pieces{dial(t, addr)} },
	}
	names := slices.Sorted(maps.Keys(ways))
	r := rand.New(rand.NewPCG(seed, 0))
	var all []string
	for range n {
		if raw := oddRequest(r); differs(raw) == "" {
			all = append(all, raw)
		}
	}
	for share := range slices.Chunk(all, len(all)/8) {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			for i, raw := range share {
				way := names[i%len(names)]
				want := exchangeOf(t, dial(t, l.Addr().String()), raw)
				if got := exchangeOf(t, ways[way](t), raw); got != want {
					t.Errorf("%s: %.300q is answered\n%s\nby net/http\n%s", way, raw, got, want)
				}
			}
		})
	}
}

// pieces sends the first byte in a segment of its own, then the rest.
type pieces struct{ *net.TCPConn }

func (c pieces) Write(p []byte) (int, error) {
	if _, err := c.TCPConn.Write(p[:1]); err != nil {
		return 0, err
	}
	n, err := c.TCPConn.Write(p[1:])
	return n + 1, err
}

// exchangeOf sends raw and one more request, and returns everything that the server answers.
func exchangeOf(t *testing.T, c net.Conn, raw string) string {
	defer c.Close()
	go func() { // ends with c
		_, _ = io.WriteString(c, raw+"GET /end HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
		_ = c.(interface{ CloseWrite() error }).CloseWrite()
	}()
	var all strings.Builder
	method, _, _ := strings.Cut(raw, " ")
	closes := false
	// net/http reads the rest of a refused request, or what follows the last one, for half a second
	// only.
	isEnd := func(err error) bool { return closes && errors.Is(err, syscall.ECONNRESET) }
	for br := bufio.NewReader(c); ; {
		resp, err := http.ReadResponse(br, &http.Request{Method: method})
		if isEnd(err) {
			err = io.EOF
		}
		if err != nil {
			return all.String() + ending(err)
		}
		closes = resp.Close
		body, err := io.ReadAll(resp.Body)
		if isEnd(err) {
			err = nil
		}
		fmt.Fprintf(&all, "%d %q closes=%t %v\n", resp.StatusCode, bytes.TrimSpace(body), resp.Close, err)
		if resp.StatusCode != http.StatusContinue {
			method = http.MethodGet
		}
	}
}
