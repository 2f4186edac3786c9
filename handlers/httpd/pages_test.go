package httpd

import (
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/portluck/portluck/handlers"
)

const upgrade = "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: h2c, WebSocket\r\n\r\n"

// A connection on which other requests were served can be upgraded: TRAPS part 1, row 22, and part
// 5, row 5.
func TestTraps1Row22LateUpgrade(t *testing.T) {
	h := &Handler{
		Pages: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, "page for %s", r.RemoteAddr) }),
		Upgrade: func(w http.ResponseWriter, r *http.Request, c handlers.Conn, _ handlers.Port) {
			nc, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			if below, ok := nc.(interface{ NetConn() net.Conn }); !ok {
				t.Errorf("the connection is a %T", nc)
			} else if own, _ := c.NetConn(); own != below.NetConn() {
				t.Errorf("the connection is %v, want %v", own, nc)
			}
			io.WriteString(nc, "upgraded "+r.URL.Path)
			c.Close()
		},
	}
	addr, conns := serve(t, h, &port{message: echo})
	w := dial(t, addr)
	w.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	w.expect(200, "page for "+w.LocalAddr().String())
	w.send(post("between"))
	w.expect(200, "between\n")
	w.send(upgrade)
	if b, _ := io.ReadAll(w.r); string(b) != "upgraded /ws" {
		t.Errorf("read %q", b)
	}
	c := <-conns
	<-c.closed
	if n := c.closes.Load(); n != 1 {
		t.Errorf("closed %d times", n)
	}
}

// Without Upgrade the request is like any other.
func TestNoUpgrade(t *testing.T) {
	addr, _ := serve(t, &Handler{}, &port{message: echo})
	w := dial(t, addr)
	w.send(upgrade)
	w.expect(405, "Allowed methods are POST or PUT.")
	w.send(post("next"))
	w.expect(200, "next\n")
}

// A connection that a page has hijacked counts until it is closed.
func TestPageHijacks(t *testing.T) {
	next := make(chan struct{})
	h := &Handler{Pages: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		c, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		go func() { // ends when the test has looked
			<-next
			io.WriteString(c, "hijacked")
			c.(interface{ CloseWrite() error }).CloseWrite()
			c.Close()
		}()
	})}
	for name, serve := range map[string]func(testing.TB, *Handler, *port) (string, chan *conn){"plain": serve, "TLS": serveTLS} {
		t.Run(name, func(t *testing.T) {
			addr, conns := serve(t, h, &port{})
			var w *wire
			if w = dial(t, addr); name == "TLS" {
				c := tls.Client(w.Conn, &tls.Config{InsecureSkipVerify: true})
				w.Conn = c
				w.r.Reset(c)
			}
			w.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
			c := <-conns
			next <- struct{}{}
			if b, _ := io.ReadAll(w.r); string(b) != "hijacked" {
				t.Errorf("read %q", b)
			}
			<-c.closed
			if n := c.closes.Load(); n != 1 {
				t.Errorf("closed %d times", n)
			}
		})
		h = &Handler{Pages: h.Pages}
	}
}

// Files and bodies of pages arrive whole, whatever their size, past the part that is looked at.
func TestPageContent(t *testing.T) {
	t.Parallel()
	const size = 3*stride + 17
	file := filepath.Join(t.TempDir(), "file")
	content := strings.Repeat("0123456789abcdef", size/16+1)[:size]
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	pages := func() *Handler {
		return &Handler{Pages: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/file":
				http.ServeFile(w, r, file)
			case "/write":
				w.Write([]byte(content))
			case "/string":
				io.WriteString(w, content)
				w.(http.Flusher).Flush()
			case "/copy":
				io.Copy(w, strings.NewReader(content))
			case "/body":
				io.Copy(w, r.Body)
			}
		})}
	}
	each(t, pages, echoing, func(t *testing.T, s session) {
		for _, path := range []string{"/file", "/write", "/string", "/copy", "/body"} {
			req, _ := http.NewRequest(http.MethodGet, s.url+path, nil)
			if path == "/body" {
				req, _ = http.NewRequest(http.MethodPatch, s.url+path, strings.NewReader(content))
			}
			resp, err := s.client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			if string(body) != content || err != nil {
				t.Errorf("%s: %d bytes, %v, want %d", path, len(body), err, len(content))
			}
			resp.Body.Close()
		}
	})
}

// Requests of two kinds share one HTTP/2 connection: TRAPS part 1, row 23.
func TestTraps1Row23OneConnection(t *testing.T) {
	h := &Handler{
		Claim: func(r *http.Request) bool { return r.Header.Get("Content-Type") == "application/grpc" },
		Pages: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Trailer", "Grpc-Status")
			w.Header().Set("Content-Type", r.Header.Get("Content-Type"))
			io.Copy(w, r.Body)
			w.(http.Flusher).Flush()
			w.Header().Set("Grpc-Status", "0")
		}),
	}
	addr, _ := serve(t, h, &port{message: echo})
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	c, err := (&http.Transport{Protocols: &protocols}).NewClientConn(t.Context(), "http", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for kind, want := range map[string]string{"application/grpc": "raw", "application/json": "raw\n"} {
		req, _ := http.NewRequest(http.MethodPost, "http://"+addr, strings.NewReader("raw"))
		req.Header.Set("Content-Type", kind)
		resp, err := c.RoundTrip(req)
		if err != nil {
			t.Fatalf("%s: %v", kind, err)
		}
		if b, err := io.ReadAll(resp.Body); string(b) != want || err != nil {
			t.Errorf("%s: %q, %v, want %q", kind, b, err, want)
		}
		if kind == "application/grpc" && resp.Trailer.Get("Grpc-Status") != "0" {
			t.Errorf("trailer %v", resp.Trailer)
		}
		resp.Body.Close()
	}
}

// ErrorLog gets the panic of a page, which costs only its connection.
func TestErrorLog(t *testing.T) {
	lines := make(chan string, 10)
	h := &Handler{
		Pages:    http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("on purpose") }),
		ErrorLog: log.New(writerFunc(func(p []byte) { lines <- string(p) }), "", 0),
	}
	addr, conns := serve(t, h, &port{})
	w := dial(t, addr)
	w.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	if b, _ := io.ReadAll(w.r); len(b) > 0 {
		t.Errorf("read %q", b)
	}
	if got := <-lines; !strings.Contains(got, "on purpose") {
		t.Errorf("logged %q", got)
	}
	<-(<-conns).closed
}

type writerFunc func(p []byte)

func (f writerFunc) Write(p []byte) (int, error) {
	f(p)
	return len(p), nil
}
