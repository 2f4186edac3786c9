package httpd

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/portluck/portluck/handlers"
)

// A request for another host name is answered with 421 and makes no client.
func TestForeignHost(t *testing.T) {
	h := &Handler{Hosts: handlers.Hosts{"example.com"}, Mux: mounts("/api"), Pages: http.NotFoundHandler()}
	for _, path := range []string{"/", "/api"} {
		p := &port{message: echo}
		bubble(t, &Handler{Hosts: h.Hosts, Mux: h.Mux, Pages: h.Pages}, p, func(t *testing.T, w *wire, c *conn) {
			c.info.Local = netip.MustParseAddrPort("127.0.0.1:80")
			w.send("POST " + path + " HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 1\r\n\r\nx")
			resp, got := w.answer()
			if resp.StatusCode != http.StatusMisdirectedRequest || strings.Contains(got, "x\n") || strings.Contains(got, "mounted") {
				t.Errorf("answer %d %q", resp.StatusCode, got)
			}
			if got := strings.Join(p.events(), ", "); got != "fail "+handlers.ErrHost.Error() {
				t.Errorf("events %q", got)
			}
		})
	}
}

// A preflight of a path that is not mounted is answered like a client's.
func TestPreflightOfClient(t *testing.T) {
	for path, want := range map[string]string{"/": "POST, PUT", "/one": "DELETE"} {
		bubble(t, &Handler{Mux: mounts("DELETE /one")}, &port{}, func(t *testing.T, w *wire, _ *conn) {
			w.send("OPTIONS " + path + " HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\nAccess-Control-Request-Method: DELETE\r\n\r\n")
			if got := w.expect(200, "").Header.Get("Access-Control-Allow-Methods"); got != want {
				t.Errorf("OPTIONS %s allows %q, want %q", path, got, want)
			}
		})
	}
}

// A request without a path is not mounted, whatever is, and its Origin is checked like any other's.
func TestNoPath(t *testing.T) {
	for _, tt := range []struct {
		request, header string
		status          int
	}{
		{"CONNECT localhost:80", "", 405},
		{"OPTIONS *", "", 200},
		{"OPTIONS *", "Origin: http://evil.example\r\n", 403},
		{"POST /", "Origin: http://evil.example\r\n", 403},
	} {
		bubble(t, &Handler{Mux: mounts("/")}, &port{}, func(t *testing.T, w *wire, _ *conn) {
			w.send(tt.request + " HTTP/1.1\r\nHost: localhost\r\n" + tt.header + "\r\n")
			resp, got := w.answer()
			if resp.StatusCode != tt.status || strings.Contains(got, "mounted") || resp.Close != (tt.status != 200) {
				t.Errorf("%s, %q: answer %d %q, closes %t, want %d", tt.request, tt.header, resp.StatusCode, got, resp.Close, tt.status)
			}
		})
	}
}

// A page without a body gets none.
func TestPageWithoutBody(t *testing.T) {
	for method, want := range map[string]bool{"GET": true, "PATCH": false} {
		var none bool
		h := &Handler{Pages: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { none = r.Body == http.NoBody })}
		bubble(t, h, &port{}, func(t *testing.T, w *wire, _ *conn) {
			w.send(method + " / HTTP/1.1\r\nHost: localhost\r\n")
			if !want {
				w.send("Content-Length: 1\r\n\r\nx")
			} else {
				w.send("\r\n")
			}
			if w.expect(200, ""); none != want {
				t.Errorf("%s: no body: %t", method, none)
			}
		})
	}
}

// When an answer is destroyed, what is queued has a short time to be sent, not the client's whole
// time.
func TestDestroyHurries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBook(t)
		a := answering(b, 2, time.Minute)
		a.beginTurn()
		_, _ = a.Write([]byte("x"), handlers.Auto)
		a.Destroy()
		b.want("Destroy", "write by 1s", "write x", "write never", "write past")
		if err := a.finish(nil, true); err != nil || !a.cut() {
			t.Errorf("finish() = %v, cut %t", err, a.cut())
		}
	})
}

// An answer with nothing to send sends nothing when it is destroyed.
func TestDestroyNothing(t *testing.T) {
	b := newBook(t)
	a := answering(b, 2, time.Minute)
	a.Destroy()
	b.want("Destroy", "write past")
	_ = a.finish(nil, true)
}

// From the beginning of a shutdown answers close their connections, also after its ctx has ended.
func TestDrainBegins(t *testing.T) {
	var s conns
	s.add(nil, &httpConn{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if s.drain(ctx); !s.draining.Load() {
		t.Error("it has not begun")
	}
}

// lazy is a connection whose net.Conn is made when it is hijacked.
type lazy struct {
	*conn
	err error
}

func (l lazy) NetConn() (net.Conn, error) { return l.conn.Conn, l.err }

// hijackable is a book that can be hijacked.
type hijackable struct {
	*book
	nc net.Conn
}

func (h hijackable) Hijack() (net.Conn, *bufio.ReadWriter, error) { return h.nc, nil, nil }

// Hijack returns the connection that was made, or an error if there is none.
func TestHijackLazy(t *testing.T) {
	for _, want := range []error{nil, io.ErrClosedPipe} {
		ours, theirs := net.Pipe()
		b := hijackable{newBook(t), ours}
		p := &page1{page: page{ResponseWriter: b, pace: writeDeadline{rc: *http.NewResponseController(b)}}, conn: &httpConn{conn: lazy{newConn(ours), want}, nc: ours}}
		nc, _, err := p.Hijack()
		if !errors.Is(err, want) || (nc == nil) != (want != nil) || !p.hijacked {
			t.Errorf("Hijack() = %v, %v, want %v", nc, err, want)
		}
		ours.Close()
		theirs.Close()
	}
}
