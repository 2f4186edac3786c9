package httpd

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/portluck/portluck/handlers"
)

// A shutdown waits, for a bounded time, for a connection that has sent no request yet, and for a
// moment after the last request.
func TestSettled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &conns{}
		s.last.Store(time.Now().UnixNano())
		if !s.settled() {
			t.Error("no connection: not settled")
		}
		l := &httpConn{}
		s.add(nil, l)
		time.Sleep(stuck)
		if s.settled() {
			t.Error("a fresh connection: settled")
		}
		time.Sleep(time.Nanosecond)
		if !s.settled() {
			t.Error("a connection that shows nothing: not settled")
		}
		s.draining.Store(true)
		s.shown(l)
		s.shown(l)
		if got := s.fresh.Load(); got != 0 || l.fresh.Load() {
			t.Errorf("%d fresh connections", got)
		}
		time.Sleep(quiet)
		if s.settled() {
			t.Error("settled too soon")
		}
		time.Sleep(time.Nanosecond)
		if !s.settled() {
			t.Error("not settled after the quiet")
		}
	})
}

// During a shutdown each answer of HTTP/1 tells the client that the connection closes.
func TestDrainingCloses(t *testing.T) {
	for _, draining := range []bool{false, true} {
		h := &Handler{}
		h.conns.draining.Store(draining)
		bubble(t, h, &port{message: echo}, func(t *testing.T, w *wire, _ *conn) {
			w.send(post("a"))
			if resp := w.expect(200, "a\n"); resp.Close != draining {
				t.Errorf("draining %t: the answer closes: %t", draining, resp.Close)
			}
		})
	}
}

// Every Handler serves HTTP/2 inside TLS, even if it does not serve it with prior knowledge.
func TestHTTP1OverTLS(t *testing.T) {
	h := &Handler{}
	h.start()
	for _, srv := range []*http.Server{h.any, h.http1} {
		if !srv.Protocols.HTTP1() || !srv.Protocols.HTTP2() || srv.Protocols.UnencryptedHTTP2() != (srv == h.any) {
			t.Errorf("protocols %v", srv.Protocols)
		}
	}
}

// TestDispatch tests what a request becomes.
func TestDispatch(t *testing.T) {
	page := func(s string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, s) })
	}
	full := &Handler{
		Pages: page("page"), Mux: mounts("/api"),
		Claim: func(r *http.Request) bool { return r.URL.Path == "/claimed" },
		Streams: func(r *http.Request, _ *handlers.Info) http.Handler {
			if r.URL.Path == "/stream" {
				return page("stream")
			}
			return nil
		},
		Upgrade: func(w http.ResponseWriter, _ *http.Request, _ handlers.Conn, _ handlers.Port) {
			io.WriteString(w, "upgraded")
		},
	}
	pageless := &Handler{Claim: full.Claim}
	for _, tt := range []struct {
		name, method, path, header string
		h                          *Handler
		want                       string
	}{
		{"a stream", "GET", "/stream", "", full, "stream"},
		{"a page", "GET", "/", "", full, "page"},
		{"a client of the stream's path", "POST", "/stream", "", full, "x\n"},
		{"a page of another method", "DELETE", "/stream", "", full, "page"},
		{"a WebSocket", "GET", "/stream", "Connection: Upgrade\r\nUpgrade: websocket\r\n", full, "upgraded"},
		{"another upgrade", "GET", "/", "Connection: Upgrade\r\nUpgrade: h2c\r\n", full, "page"},
		{"no upgrade", "GET", "/", "Upgrade: websocket\r\n", full, "page"},
		{"a WebSocket that posts", "POST", "/", "Connection: Upgrade\r\nUpgrade: websocket\r\n", full, "x\n"},
		{"a claimed client", "POST", "/claimed", "", full, "page"},
		{"a claimed client of no pages", "POST", "/claimed", "", pageless, "x\n"},
		{"mounted beside an upgrade", "POST", "/api", "", full, `mounted POST /api "x"`},
		{"no page", "DELETE", "/", "", pageless, "Allowed methods are POST or PUT."},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, tt.h.fresh(), &port{message: echo}, func(t *testing.T, w *wire, _ *conn) {
				head := tt.method + " " + tt.path + " HTTP/1.1\r\nHost: x\r\n" + tt.header
				if tt.method == "POST" {
					w.send(head + "Content-Length: 1\r\n\r\nx")
				} else {
					w.send(head + "\r\n")
				}
				resp, got := w.answer()
				if got != tt.want || resp.Close {
					t.Errorf("answer %q, closes %t, want %q", got, resp.Close, tt.want)
				}
			})
		})
	}
}

// fresh returns a Handler with the same funcs.
func (h *Handler) fresh() *Handler {
	return &Handler{Pages: h.Pages, Mux: h.Mux, Claim: h.Claim, Streams: h.Streams, Upgrade: h.Upgrade}
}

// A client's info has the TLS state of its connection.
func TestInfoTLS(t *testing.T) {
	state, own := &tls.ConnectionState{}, &tls.ConnectionState{}
	for _, tt := range []struct{ conn, request, want *tls.ConnectionState }{{nil, state, state}, {own, state, own}, {nil, nil, nil}} {
		c := &conn{info: handlers.Info{TLS: tt.conn}}
		for version, protocol := range map[int]string{1: "http/1.1", 2: "h2"} {
			info := requestInfo(&http.Request{ProtoMajor: version, TLS: tt.request}, &httpConn{conn: c})
			if info.TLS != tt.want || info.Protocol != protocol {
				t.Errorf("%s, TLS %p, want %s, %p", info.Protocol, info.TLS, protocol, tt.want)
			}
		}
	}
}

// Each answer is sent when its own callback has used up its time.
func TestCorks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &Handler{}
		books, answers := make([]*book, 4), make([]*answer, 4)
		for i := range books {
			books[i] = newBook(t)
			answers[i] = answering(books[i], 1, -1)
			answers[i].delays = &h.delays
			answers[i].beginTurn()
			_, _ = answers[i].Write([]byte("x"), handlers.Auto)
			time.Sleep(patience / 5)
		}
		answers[1].endTurn(false) // at 4/5
		sent := func(want ...bool) {
			t.Helper()
			synctest.Wait()
			for i, b := range books {
				b.mu.Lock()
				got := len(b.told) > 0
				b.mu.Unlock()
				if got != want[i] {
					t.Errorf("at %v: answer %d is sent: %t", time.Since(books[0].begun), i, got)
				}
			}
		}
		sent(false, true, false, false)
		time.Sleep(patience / 5)
		sent(true, true, false, false)
		time.Sleep(patience * 2 / 5)
		sent(true, true, true, false)
		answers[3].endTurn(false)
		sent(true, true, true, true)
		answers[0].beginTurn()
		_, _ = answers[0].Write([]byte("again"), handlers.Auto)
		books[0].take()
		time.Sleep(patience)
		synctest.Wait()
		books[0].want("again", "write again")
		for _, a := range answers {
			a.endTurn(false)
			if err := a.finish(nil, true); err != nil {
				t.Error(err)
			}
		}
		if h.delays.head != nil || h.delays.tail != nil {
			t.Error("some are left")
		}
	})
}

// counting is a connection that reports how many bytes have come.
type counting struct{ net.Conn }

func (counting) Received() int64 { return 0 }

// Only a TLS client has a bound for its first byte.
func TestLinkBound(t *testing.T) {
	ours, theirs := net.Pipe()
	defer ours.Close()
	defer theirs.Close()
	secret := tls.Server(counting{ours}, &tls.Config{})
	for _, tt := range []struct {
		name string
		nc   net.Conn
		d    time.Duration
		want bool
	}{
		{"TLS", secret, time.Hour, true},
		{"no bound", secret, 0, false},
		{"a negative one", secret, -1, false},
		{"plain", counting{ours}, time.Hour, false},
		{"of another make", tls.Server(ours, &tls.Config{}), time.Hour, false},
	} {
		l := &httpConn{nc: tt.nc}
		l.bound(tt.d)
		if got := l.first != nil; got != tt.want {
			t.Errorf("%s: a bound: %t", tt.name, got)
		}
		if l.first != nil {
			l.first()
		}
	}
}
