package portluck

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

// mountEcho mounts a handler that answers with what it got.
func mountEcho(s *Server) *Server {
	s.Mount("/api/{name}", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s %s %q", r.Proto, r.Method, r.PathValue("name"), body)
	}))
	return s
}

// Every version of HTTP reaches a mounted handler, whose requests are no clients. The rest of the
// port is unchanged.
func TestMount(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, scheme, proto string
		set                 func(*http.Protocols)
	}{
		{"HTTP/1.1", "http", "HTTP/1.1", func(p *http.Protocols) { p.SetHTTP1(true) }},
		{"h2c", "http", "HTTP/2.0", func(p *http.Protocols) { p.SetUnencryptedHTTP2(true) }},
		{"HTTPS", "https", "HTTP/1.1", func(p *http.Protocols) { p.SetHTTP1(true) }},
		{"h2", "https", "HTTP/2.0", func(p *http.Protocols) { p.SetHTTP2(true) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			hub, e := record(echo)
			addr := serve(t, mountEcho(&Server{Hub: hub, TLSConfig: withTLS()}))
			var protocols http.Protocols
			tt.set(&protocols)
			transport := &http.Transport{Protocols: &protocols, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
			t.Cleanup(transport.CloseIdleConnections)
			client := &http.Client{Transport: transport}
			ask := func(method, path, want string) {
				t.Helper()
				req, _ := http.NewRequestWithContext(t.Context(), method, tt.scheme+"://"+addr+path, strings.NewReader("x"))
				resp, err := client.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				if got, err := io.ReadAll(resp.Body); string(got) != want || err != nil {
					t.Errorf("%s %s: %q, %v, want %q", method, path, got, err, want)
				}
			}
			for _, method := range []string{"POST", "PUT", "DELETE", "OPTIONS"} {
				ask(method, "/api/a", tt.proto+` `+method+` a "x"`)
			}
			e.want(t)
			ask("POST", "/", "x\n")
			e.want(t, "connect "+tt.scheme, "message x", "disconnect "+tt.scheme)
		})
	}
}

// The pages of another origin may not send to what is mounted, unless the server lets them.
func TestMountOrigin(t *testing.T) {
	tests := []struct {
		name, origin string
		allow        []string
		status       int
	}{
		{"a program", "", nil, 200},
		{"same origin", "http://localhost", nil, 200},
		{"another origin", "http://evil", nil, 403},
		{"an allowed one", "http://good", []string{"good"}, 200},
		{"one that is not allowed", "http://evil", []string{"good"}, 403},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			hub, e := record(nil)
			addr := serve(t, mountEcho(&Server{Hub: hub, AllowOrigin: tt.allow}))
			c := dial(t, addr)
			head := "POST /api/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n"
			if tt.origin != "" {
				head += "Origin: " + tt.origin + "\r\n"
			}
			resp, body := request(t, c, bufio.NewReader(c), head+"\r\n")
			if resp.StatusCode != tt.status || (body == `HTTP/1.1 POST a ""`) != (tt.status == 200) {
				t.Errorf("status %d, body %q, want status %d", resp.StatusCode, body, tt.status)
			}
			if tt.status == 403 {
				e.wantError(t, "refused")
			}
		})
	}
}

// Shutdown waits for the requests of what is mounted.
func TestMountShutdown(t *testing.T) {
	t.Parallel()
	begun, end := make(chan struct{}), make(chan struct{})
	s := &Server{}
	s.Mount("/slow", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(begun)
		<-end
		io.WriteString(w, "finished")
	}))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error)
	go func() { served <- s.Serve(l) }() // ends with Shutdown
	c := dial(t, l.Addr().String())
	send(t, c, "POST /slow HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
	<-begun
	down := make(chan error)
	go func() { down <- s.Shutdown(context.Background()) }() // ends when the request does
	<-served
	close(end)
	if got := expectEnd(t, c); !strings.HasPrefix(got, "HTTP/1.1 200 OK\r\n") || !strings.HasSuffix(got, "finished") {
		t.Errorf("answer %q", got)
	}
	if err := <-down; err != nil {
		t.Errorf("Shutdown() = %v", err)
	}
}

// Mistakes of the program are panics that say so, as in Handle.
func TestMountPanics(t *testing.T) {
	frozen := &Server{}
	serve(t, frozen)
	eventually(t, "Serve", frozen.serving.Load)
	twice := &Server{}
	twice.Mount("/a", http.NotFoundHandler())
	tests := []struct {
		name    string
		s       *Server
		pattern string
		want    string
	}{
		{"after Serve", frozen, "/a", "after Serve"},
		{"twice", twice, "/a", "conflicts"},
		{"malformed", &Server{}, "a b c", "parsing"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			defer func() {
				if got := fmt.Sprint(recover()); !strings.Contains(got, tt.want) {
					t.Errorf("panic %q, want %q", got, tt.want)
				}
			}()
			tt.s.Mount(tt.pattern, http.NotFoundHandler())
		})
	}
}

// Without a hub, a request that nothing answers gets 404.
func TestMountWithoutHub(t *testing.T) {
	t.Parallel()
	pages := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "page ", r.Method) })
	for _, tt := range []struct {
		name  string
		pages http.Handler
		want  map[string]string // by method and path: the status, and the body if it is 200
	}{
		{"nothing else", nil, map[string]string{
			"POST /nosuch": "404", "PUT /nosuch": "404", "GET /nosuch": "404", "DELETE /": "404", "POST /api/a": `200 HTTP/1.1 POST a "x"`,
		}},
		{"pages", pages, map[string]string{
			"POST /nosuch": "404", "GET /nosuch": "200 page GET", "DELETE /": "200 page DELETE", "PUT /api/a": `200 HTTP/1.1 PUT a "x"`,
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			addr := serve(t, mountEcho(&Server{Pages: tt.pages}))
			for what, want := range tt.want {
				method, path, _ := strings.Cut(what, " ")
				got := talk(t, addr, method+" "+path+" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx")
				status, body, _ := strings.Cut(want, " ")
				if !strings.HasPrefix(got, "HTTP/1.1 "+status) || !strings.HasSuffix(strings.TrimRight(got, "\n"), body) {
					t.Errorf("%s: %q, want %q", what, got, want)
				}
			}
		})
	}
}
