package httpd

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/portluck/portluck/handlers"
)

// mounts returns a mux whose pages answer with the method, the path and the body of the request.
func mounts(patterns ...string) *http.ServeMux {
	mux := http.NewServeMux()
	for _, pattern := range patterns {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			w.Header().Set("Remote", r.RemoteAddr)
			fmt.Fprintf(w, "mounted %s %s %q", r.Method, r.Pattern, body)
		})
	}
	return mux
}

func TestMounted(t *testing.T) {
	tests := []struct {
		name, method, path string
		headers            string
		status             int
		want               string
	}{
		{"post", "POST", "/api", "", 200, `mounted POST /api "x"`},
		{"put", "PUT", "/api", "", 200, `mounted PUT /api "x"`},
		{"get", "GET", "/api", "", 200, `mounted GET /api "x"`},
		{"options", "OPTIONS", "/api", "", 200, `mounted OPTIONS /api "x"`},
		{"any other method", "BREW", "/api?a=b", "", 200, `mounted BREW /api "x"`},
		{"an event stream", "GET", "/api", "Accept: text/event-stream\r\n", 200, `mounted GET /api "x"`},
		{"below", "POST", "/tree/leaf", "", 200, `mounted POST /tree/ "x"`},
		{"its method", "DELETE", "/one", "", 200, `mounted DELETE DELETE /one "x"`},
		{"another method is a client", "POST", "/one", "", 200, "x\n"},
		{"another path is a client", "POST", "/api/", "", 200, "x\n"},
		{"the root is a client", "POST", "/", "", 200, "x\n"},
		{"another method is a page", "GET", "/one", "", 200, "page"},
		{"the asterisk is not a path", "OPTIONS", "*", "", 200, ""},
		{"same origin", "POST", "/api", "Origin: http://x\r\n", 200, `mounted POST /api "x"`},
		{"another origin", "POST", "/api", "Origin: http://evil\r\n", 403, refusedOrigin},
		{"null origin", "POST", "/api", "Origin: null\r\n", 403, refusedOrigin},
		{"another origin reads", "GET", "/api", "Origin: http://evil\r\n", 200, `mounted GET /api "x"`},
		{"preflight", "OPTIONS", "/one", "Origin: http://x\r\nAccess-Control-Request-Method: DELETE\r\n", 200, ""},
		{"preflight of another origin", "OPTIONS", "/api", "Origin: http://evil\r\nAccess-Control-Request-Method: POST\r\n", 403, refusedOrigin},
		{"preflight of a client", "OPTIONS", "/", "Origin: http://x\r\nAccess-Control-Request-Method: POST\r\n", 200, ""},
	}
	h := &Handler{
		Mux:   mounts("/api", "/tree/", "DELETE /one"),
		Pages: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "page") }),
	}
	p := &port{message: echo}
	addr, _ := serve(t, h, p)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before := len(p.events())
			w := dial(t, addr)
			w.send(tt.method + " " + tt.path + " HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n" + tt.headers + "\r\nx")
			resp := w.expect(tt.status, tt.want)
			if strings.HasPrefix(tt.want, "mounted") {
				if got := resp.Header.Get("Remote"); got != w.LocalAddr().String() {
					t.Errorf("RemoteAddr = %q", got)
				}
				if got := p.events()[before:]; len(got) > 0 {
					t.Errorf("events %q of a request that is no client", got)
				}
			}
			if tt.name == "preflight" && resp.Header.Get("Access-Control-Allow-Methods") != "DELETE" {
				t.Errorf("preflight: %v", resp.Header)
			}
			if tt.status == 403 {
				if got := p.wait(t, before+1)[before:]; len(got) != 1 || got[0] != "fail origin: refused" {
					t.Errorf("events %q", got)
				}
			}
		})
	}
}

// A server that requires an Origin of clients still serves its mounted pages, and accepts nothing
// else without one.
func TestMountedRequiresOrigin(t *testing.T) {
	h := &Handler{Mux: mounts("/api"), CheckOrigin: func(r *http.Request) bool { return r.Header.Get("Origin") == "http://good" }}
	addr, _ := serve(t, h, &port{})
	for method, want := range map[string]int{"GET": 200, "POST": 403, "DELETE": 403} {
		w := dial(t, addr)
		w.send(method + " /api HTTP/1.1\r\nHost: x\r\n\r\n")
		if resp, _ := w.answer(); resp.StatusCode != want {
			t.Errorf("%s without an Origin: %d, want %d", method, resp.StatusCode, want)
		}
	}
	w := dial(t, addr)
	w.send("POST /api HTTP/1.1\r\nHost: x\r\nOrigin: http://good\r\nContent-Length: 0\r\n\r\n")
	if resp := w.expect(200, `mounted POST /api ""`); resp.Header.Get("Access-Control-Allow-Origin") != "http://good" {
		t.Errorf("CORS: %v", resp.Header)
	}
}

// Several requests on a connection, for mounted pages and of clients, over every version of HTTP.
func TestMountedVersions(t *testing.T) {
	each(t, func() *Handler { return &Handler{Mux: mounts("/api")} }, echoing, func(t *testing.T, s session) {
		for range 3 {
			for path, want := range map[string]string{"/api": `mounted POST /api "hello"`, "/": "hello\n"} {
				resp, err := s.client.Post(s.url+path, "text/plain", strings.NewReader("hello"))
				if err != nil {
					t.Fatal(err)
				}
				if got, err := io.ReadAll(resp.Body); string(got) != want || err != nil {
					t.Errorf("%s: %q, %v, want %q", path, got, err, want)
				}
				resp.Body.Close()
			}
		}
	})
}

// A WebSocket handshake works under a mounted path too.
func TestMountedUpgrade(t *testing.T) {
	h := &Handler{Mux: mounts("/"), Upgrade: func(w http.ResponseWriter, _ *http.Request, _ handlers.Conn, _ handlers.Port) {
		io.WriteString(w, "upgraded")
	}}
	addr, _ := serve(t, h, &port{})
	w := dial(t, addr)
	w.send(upgrade)
	w.expect(200, "upgraded")
}

func TestShutdownFinishesMounted(t *testing.T) {
	begun, end := make(chan struct{}), make(chan struct{})
	mux := http.NewServeMux()
	mux.HandleFunc("/slow", func(w http.ResponseWriter, _ *http.Request) {
		close(begun)
		<-end
		io.WriteString(w, "finished")
	})
	h := &Handler{Mux: mux}
	addr, conns := serve(t, h, &port{})
	w := dial(t, addr)
	w.send("POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
	<-begun
	down := make(chan error)
	go func() { down <- h.Shutdown(context.Background()) }() // ends when the request does
	close(end)
	w.expect(200, "finished")
	if err := <-down; err != nil {
		t.Errorf("Shutdown() = %v", err)
	}
	<-(<-conns).closed
}
