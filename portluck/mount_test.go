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

// Requests of every version of HTTP reach a mounted handler, and are not clients. The rest of the
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

// Pages of another origin may not send to a mounted handler unless the server allows it.
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

// Shutdown waits for the requests of mounted handlers.
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

// Mistakes of the program panic with a clear text, as in Handle.
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
		want  map[string]string // method and path -> the status, and the body if it is 200
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

// shake answers a WebSocket handshake as a library that hijacks the connection does, sends hello
// and echoes what the client sends until it leaves.
func shake(hello string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		nc, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		defer nc.Close()
		fmt.Fprintf(rw, "HTTP/1.1 101 Switching Protocols\r\nX-Path: %s\r\n\r\n%s", r.URL.Path, hello)
		_ = rw.Flush()
		_, _ = io.Copy(nc, rw)
	})
}

// opens is an opening handshake for path, with more fields.
func opens(path string, fields ...string) string {
	return "GET " + path + " HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" + strings.Join(append(fields, ""), "\r\n") + "\r\n"
}

// A mounted library gets the handshakes of its path, on a new connection and on one that was used,
// in the clear and in TLS. All others are clients of the hub, and other requests for the path are
// served as before.
func TestMountWebSocket(t *testing.T) {
	t.Parallel()
	for _, secure := range []bool{false, true} {
		hub, e := record(echo)
		s := &Server{Hub: hub, TLSConfig: withTLS(), Pages: http.NotFoundHandler()}
		s.MountWebSocket("/chat/{room}", shake("hello"))
		addr := serve(t, s)
		connect := func() net.Conn {
			if secure {
				return dialTLS(t, addr, "http/1.1")
			}
			return dial(t, addr)
		}
		c := connect()
		send(t, c, opens("/chat/a?x")+"first")
		expect(t, c, "HTTP/1.1 101 Switching Protocols\r\nX-Path: /chat/a\r\n\r\nhellofirst")
		send(t, c, "second")
		expect(t, c, "second")
		c.Close()

		used := connect()
		buf := bufio.NewReader(used)
		if resp, _ := request(t, used, buf, "GET /chat/a HTTP/1.1\r\nHost: localhost\r\n\r\n"); resp.StatusCode != 404 {
			t.Errorf("the page /chat/a: %s", resp.Status)
		}
		send(t, used, opens("/chat/b"))
		expect(t, buf, "HTTP/1.1 101 Switching Protocols\r\nX-Path: /chat/b\r\n\r\nhello")
		used.Close()
		e.want(t)

		other := connect()
		send(t, other, opens("/chat"))
		expect(t, other, "HTTP/1.1 101")
		scheme := map[bool]string{false: "ws", true: "wss"}[secure]
		if got := e.waitFor(1); got[0] != "connect "+scheme {
			t.Errorf("events %q", got)
		}
		other.Close()
	}
}

// The port refuses the pages of other origins and names that are not the server's, unless the
// mount does its own CORS: then it checks the name only.
func TestOwnCORS(t *testing.T) {
	t.Parallel()
	s := &Server{}
	answer := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "mine ", r.Method, " ", r.PathValue("x")) })
	s.Mount("/port/{x}", answer)
	s.Mount("/own/{x}", answer, OwnCORS)
	s.Mount("POST /post/{x}", answer, OwnCORS)
	s.MountWebSocket("/port", shake(""))
	s.MountWebSocket("/own", shake(""), OwnCORS)
	addr := serve(t, s)
	const evil = "Origin: http://evil\r\n"
	const asks = evil + "Access-Control-Request-Method: POST\r\n"
	for _, tt := range []struct {
		request string
		status  int
		body    string
	}{
		{"POST /port/a HTTP/1.1\r\nHost: localhost\r\n" + evil, 403, ""},
		{"POST /own/a HTTP/1.1\r\nHost: localhost\r\n" + evil, 200, "mine POST a"},
		{"GET /own/a HTTP/1.1\r\nHost: localhost\r\n" + evil, 200, "mine GET a"},
		{"OPTIONS /port/a HTTP/1.1\r\nHost: localhost\r\n" + asks, 403, ""},
		{"OPTIONS /own/a HTTP/1.1\r\nHost: localhost\r\n" + asks, 200, "mine OPTIONS a"},
		{"OPTIONS /own/a HTTP/1.1\r\nHost: localhost\r\n" + evil, 200, "mine OPTIONS a"},
		{"OPTIONS /post/a HTTP/1.1\r\nHost: localhost\r\n" + asks, 200, "mine OPTIONS "},
		{"POST /post/a HTTP/1.1\r\nHost: localhost\r\n" + evil, 200, "mine POST a"},
		{"POST /own/a HTTP/1.1\r\nHost: evil\r\n" + evil, 421, ""},
		{strings.TrimSuffix(opens("/port", "Origin: http://evil"), "\r\n"), 403, ""},
		{strings.TrimSuffix(opens("/own", "Origin: http://evil"), "\r\n"), 101, ""},
		{strings.Replace(strings.TrimSuffix(opens("/own"), "\r\n"), "localhost", "evil", 1), 421, ""},
	} {
		c := dial(t, addr)
		send(t, c, tt.request+map[bool]string{true: "Content-Length: 0\r\n"}[tt.request[0] == 'P']+"\r\n")
		resp, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: "POST"})
		if err != nil {
			t.Fatalf("%q: %v", tt.request, err)
		}
		body := ""
		if tt.status == 200 {
			all, _ := io.ReadAll(resp.Body)
			body = string(all)
		}
		if resp.StatusCode != tt.status || body != tt.body {
			t.Errorf("%q: %s %q, want %d %q", tt.request, resp.Status, body, tt.status, tt.body)
		}
		if cors := resp.Header["Access-Control-Allow-Origin"]; strings.Contains(tt.request, " /own") && cors != nil {
			t.Errorf("%q: the port has added %q", tt.request, cors)
		}
		c.Close()
	}
}
