package websocket

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/testdata"
)

// once is a connection on which a client has sent in, and sends nothing more.
type once struct {
	in     io.Reader
	out    bytes.Buffer
	closed chan struct{}
}

func (c *once) Read(p []byte) (int, error)     { return c.in.Read(p) }
func (c *once) Write(p []byte) (int, error)    { return c.out.Write(p) }
func (*once) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (*once) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (*once) SetDeadline(time.Time) error      { return nil }
func (*once) SetReadDeadline(time.Time) error  { return nil }
func (*once) SetWriteDeadline(time.Time) error { return nil }

// net/http and the handler may both call Close, one after the other.
func (c *once) Close() error {
	select {
	case <-c.closed:
	default:
		close(c.closed)
	}
	return nil
}

// peers is the listener of a net/http server, which accepts the connections that are sent to it.
type peers chan net.Conn

func (p peers) Accept() (net.Conn, error) {
	c, ok := <-p
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}
func (peers) Close() error   { return nil }
func (peers) Addr() net.Addr { return &net.TCPAddr{} }

// theirs starts a net/http server with gobwas' upgrader. It sends the requests that it upgrades to
// upgraded.
func theirs(tb testing.TB) (conns peers, upgraded chan *http.Request) {
	tb.Helper()
	conns, upgraded = make(peers), make(chan *http.Request, 1)
	s := &http.Server{
		ErrorLog:       nil,
		MaxHeaderBytes: maxHead,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			c, _, _, err := ws.HTTPUpgrader{Protocol: func(string) bool { return true }}.Upgrade(r, w)
			if err == nil {
				upgraded <- r
			}
			if c != nil {
				c.Close()
			}
		}),
	}
	s.SetKeepAlivesEnabled(false) // only the first request is compared
	done := make(chan struct{})
	go func() { defer close(done); s.Serve(conns) }() // ends with conns
	tb.Cleanup(func() { close(conns); <-done; s.Close() })
	return conns, upgraded
}

// accepts returns the request if they upgrade it.
func (p peers) accepts(in []byte, upgraded chan *http.Request) *http.Request {
	c := &once{in: bytes.NewReader(in), closed: make(chan struct{})}
	p <- c
	<-c.closed
	select {
	case r := <-upgraded:
		return r
	default:
		return nil
	}
}

// weRefuse returns why this package refuses a handshake that they accept: a row of TRAPS part 4.
func weRefuse(in []byte, r *http.Request) string {
	head := in[:max(0, endOfHead(in, 0))]
	keys := r.Header["Sec-Websocket-Key"]
	switch {
	case len(head) > maxHead:
		return "row 2: too long"
	case len(keys) != 1 || len(r.Header["Sec-Websocket-Version"]) != 1:
		return "row 5: a field twice"
	case !isKey(keys[0]):
		return "row 5: no key of 16 bytes"
	case r.ContentLength != 0 || len(r.TransferEncoding) > 0:
		return "row 5: a body"
	case !handlers.HasToken(r.Header["Connection"], "upgrade") || !handlers.HasToken(r.Header["Upgrade"], "websocket"):
		return "row 3: they take a list that is malformed behind the token"
	case !handlers.SameOrigin(r):
		return "row 6: another origin"
	case hosts(head) != 1:
		return "row 5: not one Host"
	case bytes.Contains(head, []byte("\n ")) || bytes.Contains(head, []byte("\n\t")):
		return "RFC 9112, section 5.2: a line that continues another"
	}
	return ""
}

// hosts counts the Host lines, as net/http removes the field from the header.
func hosts(head []byte) (n int) {
	for line := range bytes.Lines(head) {
		if name, _, ok := bytes.Cut(line, []byte(":")); ok && strings.EqualFold(string(name), "Host") {
			n++
		}
	}
	return n
}

// plainList reports whether list has only tokens, separated by a comma and a space.
func plainList(list string) bool {
	for element := range strings.SplitSeq(list, ",") {
		if !isToken(strings.TrimPrefix(element, " ")) {
			return false
		}
	}
	return true
}

// theyRefuse returns why they refuse a handshake that this package accepts.
func theyRefuse(r *http.Request) string {
	connection, upgrade := r.Header["Connection"], r.Header["Upgrade"]
	switch {
	case len(upgrade) > 1 || !strings.EqualFold(upgrade[0], "websocket"):
		return "row 3: Upgrade is a list"
	case len(connection) > 1:
		return "row 3: Connection in two lines"
	case !plainList(connection[0]):
		return "row 3: a list with more in it than tokens, each behind a comma and a space"
	case slices.ContainsFunc(r.Header["Sec-Websocket-Protocol"], func(s string) bool { return !isToken(s) }):
		return "row 7: a subprotocol does not fail the handshake"
	case r.Header.Get("Expect") != "":
		return "417: there is nothing to expect of a request without a body"
	}
	return ""
}

// Lines that servers may read differently.
var (
	oddRequestLines = []string{
		"GET http://y/ HTTP/1.1", "GET http://y HTTP/1.1", "GET http:///a HTTP/1.1", "GET * HTTP/1.1", "GET a HTTP/1.1", "GET ? HTTP/1.1",
		"GET  / HTTP/1.1", " GET / HTTP/1.1", "GET / HTTP/1.1 ", "\r\nGET / HTTP/1.1", "GET / HTTP/1.2", "GET / HTTP/1.0", "GET / HTTP/2.0",
		"GET / HTTP/1", "GET / http/1.1", "GET /%zz HTTP/1.1", "GET /\x7f HTTP/1.1", "GET /\xff HTTP/1.1", "GET /a\rb HTTP/1.1", "get / HTTP/1.1",
		"HEAD / HTTP/1.1", "CONNECT x:80 HTTP/1.1", "PRI * HTTP/2.0", "GET //x/ HTTP/1.1", "GET /#x HTTP/1.1",
	}
	oddFields = []string{
		"X : y", ": y", "X", "X y: z", "X:", "X: a\rb", "X: a\x00b", "X: \x7f", "X: \xff", "X: \ty\t", "\xff: y", "X(): y", " X: y", "\tX: y",
		"Host: y", "Host : y", "Content-Length: 0", "Content-Length: +0", "Content-Length: 5", "Content-Length : 5", "Content-Length: 0\r\nContent-Length: 0",
		"Transfer-Encoding: chunked", "Transfer-Encoding : chunked", "Transfer-Encoding: identity", "Trailer: X", "Expect: 100-continue", "Expect: y",
		"Connection: close", "Connection: keep-alive", "Upgrade: h2c", "Upgrade:", "Origin: null", "Origin: http://x", "Origin: http://y",
		"Sec-WebSocket-Extensions: ;", "Sec-WebSocket-Protocol: \"", "Sec-WebSocket-Protocol: a b", "Sec-WebSocket-Version: 8",
	}
	oddHosts = []string{
		"", "x y", "x@y", "$x", "x/y", "x?y", "x#y", "\"x\"", "<x>", "[::1]:80", "[fe80::1%25eth0]", "x:y", "xé", "x\\y", "^", "`", "{", "|", "%zz", "x\r\n y",
		"!$%&'()*+,-.:;=[]_~", "x\t", "x,y",
	}
)

// This package accepts the same handshakes as net/http with gobwas' upgrader, except for the listed
// differences.
func FuzzHandshake(f *testing.F) {
	f.Add([]byte(good))
	f.Add([]byte(strings.Replace(good, "websocket", "h2c, WebSocket", 1)))
	f.Add([]byte(strings.Replace(good, "Upgrade\r\n", "keep-alive, Upgrade\r\n", 1)))
	f.Add([]byte(strings.ReplaceAll(good, "\r\n", "\n")))
	f.Add([]byte("GET / HTTP/1.0\r\n\r\n"))
	for _, line := range oddRequestLines {
		f.Add([]byte(strings.Replace(good, "GET /chat HTTP/1.1", line, 1)))
	}
	for _, line := range oddFields {
		f.Add([]byte(strings.Replace(good, key, key+line+"\r\n", 1)))
		f.Add([]byte(strings.Replace(good, "Host: x\r\n", line+"\r\nHost: x\r\n", 1)))
	}
	for _, host := range oddHosts {
		f.Add([]byte(strings.Replace(good, "Host: x", "Host: "+host, 1)))
		f.Add([]byte(strings.Replace(strings.Replace(good, "Host: x", "Host: "+host, 1), "/chat", "http://x/", 1)))
	}
	for _, tr := range testdata.All() {
		if tr.Class == testdata.WebSocket {
			f.Add(tr.Bytes)
		}
	}
	conns, upgraded := theirs(f)
	f.Fuzz(func(t *testing.T, in []byte) {
		if endOfHead(in, 0) < 0 {
			in = append(bytes.Clone(in), "\r\n\r\n"...) // otherwise neither decides
		}
		d := shake(&Handler{}, string(in), whole)
		their := conns.accepts(in, upgraded)
		if len(d.seen) == 0 {
			status, _ := statusOf(t, d.out)
			if why := ""; their != nil {
				if why = weRefuse(in, their); why == "" {
					t.Errorf("they accept what is answered %d: %q", status, d.out)
				}
			}
			return
		}
		our, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(in)))
		if err != nil {
			t.Fatalf("accepted, but net/http says %v", err)
		}
		if why := theyRefuse(our); their == nil && why == "" {
			t.Errorf("accepted, but not by them: %+v", our)
		}
	})
}
