package httpd

import (
	"errors"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/testdata/funcs"
)

// callback is a func or an interface of the program, and a request that makes the handler call it.
type callback struct {
	name   string // Type.Field, if it is a field
	set    func(h *Handler, f func())
	method string // of the request
	origin string
	// The request, if net/http's client cannot make it on HTTP/2.
	raw string
}

var callbacks = []callback{
	{name: "Handler.Claim", method: "POST", set: func(h *Handler, f func()) {
		h.Pages = http.NotFoundHandler()
		h.Claim = func(*http.Request) bool { f(); return false }
	}},
	{name: "Handler.Streams", method: "GET", set: func(h *Handler, f func()) {
		h.Streams = func(*http.Request, *handlers.Info) http.Handler { f(); return nil }
	}},
	{name: "Handler.CheckOrigin", method: "POST", origin: "http://x", set: func(h *Handler, f func()) {
		h.CheckOrigin = func(*http.Request) bool { f(); return true }
	}},
	{name: "Handler.Upgrade", raw: upgrade, set: func(h *Handler, f func()) {
		h.Upgrade = func(http.ResponseWriter, *http.Request, handlers.Conn, handlers.Port) { f() }
	}},
	{name: "Handler.Upgrade", raw: upgrade, set: func(h *Handler, f func()) {
		h.Upgrade = func(w http.ResponseWriter, _ *http.Request, _ handlers.Conn, _ handlers.Port) { hijack(w); f() }
	}},
	{name: "Pages", method: "GET", set: func(h *Handler, f func()) { h.Pages = calls(f) }},
	{name: "Pages that hijack", raw: get, set: func(h *Handler, f func()) { h.Pages = hijacks(f) }},
	{name: "a stream", method: "GET", set: func(h *Handler, f func()) {
		h.Streams = func(*http.Request, *handlers.Info) http.Handler { return calls(f) }
	}},
	{name: "a stream that hijacks", raw: get, set: func(h *Handler, f func()) {
		h.Streams = func(*http.Request, *handlers.Info) http.Handler { return hijacks(f) }
	}},
	{name: "Mux", method: "GET", set: func(h *Handler, f func()) { mount(h, calls(f)) }},
	{name: "Mux that hijacks", raw: get, set: func(h *Handler, f func()) { mount(h, hijacks(f)) }},
}

const get = "GET / HTTP/1.1\r\nHost: x\r\n\r\n"

func calls(f func()) http.HandlerFunc { return func(http.ResponseWriter, *http.Request) { f() } }

func hijacks(f func()) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { hijack(w); f() }
}

func hijack(w http.ResponseWriter) { _, _, _ = http.NewResponseController(w).Hijack() }

func mount(h *Handler, pages http.Handler) {
	h.Mux = http.NewServeMux()
	h.Mux.Handle("GET /", pages)
}

// raises makes the request of c, and ignores the outcome.
func (c callback) raises(t *testing.T, client *http.Client, addr string) {
	t.Helper()
	req, err := http.NewRequest(c.method, "http://"+addr+"/", strings.NewReader(""))
	if err != nil {
		t.Fatal(err)
	}
	if c.origin != "" {
		req.Header.Set("Origin", c.origin)
	}
	if resp, err := client.Do(req); err == nil {
		resp.Body.Close()
	}
}

// eachCallback calls do once in each callback, on HTTP/1 and HTTP/2, and then rest.
func eachCallback(t *testing.T, do func(h *Handler), rest func(t *testing.T, client *http.Client, addr string, conns chan *conn)) {
	for _, c := range callbacks {
		for _, version := range []string{"HTTP/1", "HTTP/2"} {
			if c.raw != "" && version == "HTTP/2" {
				continue
			}
			t.Run(c.name+" on "+version, func(t *testing.T) {
				h := &Handler{}
				var called atomic.Bool
				c.set(h, func() {
					if called.CompareAndSwap(false, true) {
						do(h)
					}
				})
				addr, conns := serve(t, h, &port{message: echo})
				protocols := new(http.Protocols)
				protocols.SetHTTP1(version == "HTTP/1")
				protocols.SetUnencryptedHTTP2(version == "HTTP/2")
				client := &http.Client{Transport: &http.Transport{Protocols: protocols}}
				defer client.CloseIdleConnections()
				if c.raw == "" {
					c.raises(t, client, addr)
				} else {
					w := dial(t, addr)
					w.send(c.raw)
					_, _ = io.Copy(io.Discard, w.r)
				}
				if !called.Load() {
					t.Fatal("it was not called")
				}
				rest(t, client, addr, conns)
			})
		}
	}
}

// A panic in a callback costs one connection of HTTP/1, whose place is freed, or one request of
// HTTP/2.
func TestCallbacksPanic(t *testing.T) {
	var names []string
	for _, c := range callbacks {
		if strings.Contains(c.name, ".") {
			names = append(names, c.name)
		}
	}
	funcs.Covered(t, names...)
	eachCallback(t, func(*Handler) { panic("of the program") }, func(t *testing.T, client *http.Client, addr string, conns chan *conn) {
		first := <-conns
		if !strings.HasSuffix(t.Name(), "2") {
			<-first.closed
		}
		resp, err := client.Post("http://"+addr+"/", "", strings.NewReader("next"))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if b, err := io.ReadAll(resp.Body); string(b) != "next\n" || err != nil {
			t.Errorf("the next request: %d %q, %v", resp.StatusCode, b, err)
		}
		if strings.HasSuffix(t.Name(), "2") && len(conns) > 0 {
			t.Error("it has cost the connection")
		}
	})
}

// Close can be called in a callback. It closes the connections.
func TestCallbacksClose(t *testing.T) {
	eachCallback(t, func(h *Handler) {
		_ = h.Close()
		panic(http.ErrAbortHandler) // otherwise a hijacked connection stays the program's
	}, func(_ *testing.T, _ *http.Client, _ string, conns chan *conn) {
		<-(<-conns).closed
	})
}

// If OnMessage ends its goroutine, the answer ends before its client is disconnected, as nothing
// can be written after that.
func TestMessageGoexit(t *testing.T) {
	t.Parallel()
	var late error
	p := &port{message: func(string, handlers.Response) error { runtime.Goexit(); return nil }}
	p.disconnect = func(s handlers.Response) { late = s.Send([]byte("x"), handlers.Auto) }
	addr, conns := serve(t, &Handler{}, p)
	w := dial(t, addr)
	w.send(post("x"))
	waitFor(t, "the connection's end", (<-conns).closed)
	if !errors.Is(late, handlers.ErrClosed) {
		t.Errorf("Send in Disconnect = %v, want ErrClosed", late)
	}
	if got, want := p.wait(t, 3)[2], "disconnect: "+handlers.ErrPanic.Error(); got != want {
		t.Errorf("event %q, want %q", got, want)
	}
}
