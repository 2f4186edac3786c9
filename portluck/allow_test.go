package portluck

import (
	"bufio"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// In every 405 and in the answer to OPTIONS, the Allow header lists the methods that are served at
// the path, and never the one that was refused (RFC 9110, sections 10.2.1 and 15.5.6).
func TestAllow(t *testing.T) {
	t.Parallel()
	page := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	rooms := func(r *http.Request) (string, bool) { return "x", r.URL.Path == "/room" }
	type mounts map[string]http.Handler
	tests := []struct {
		name   string
		server *Server
		mounts mounts
		target string
		want   string // Allow for OPTIONS; a refusal leaves out its own method
		served string // those of the tried methods that are not refused
	}{
		{"a hub", &Server{Hub: &Hub{}}, nil, "/", "POST, PUT, OPTIONS", "POST PUT OPTIONS"},
		{"a hub, any target", &Server{Hub: &Hub{}}, nil, "*", "POST, PUT, OPTIONS", "POST PUT OPTIONS"},
		{"pages", &Server{Hub: &Hub{}, Pages: page}, nil, "/", "GET, HEAD, POST, PUT, OPTIONS", "GET HEAD POST PUT DELETE PATCH OPTIONS BREW"},
		{"a room", &Server{Hub: &Hub{}, RoomOf: rooms}, nil, "/room", "GET, POST, PUT, OPTIONS", "POST PUT OPTIONS"},
		{"a poll", &Server{Hub: &Hub{}, RoomOf: rooms}, nil, "/room?since=", "GET, POST, PUT, OPTIONS", "GET POST PUT OPTIONS"},
		{"no room", &Server{Hub: &Hub{}, RoomOf: rooms}, nil, "/", "POST, PUT, OPTIONS", "POST PUT OPTIONS"},
		{"no room, any target", &Server{Hub: &Hub{}, RoomOf: func(*http.Request) (string, bool) { return "x", true }}, nil, "*", "POST, PUT, OPTIONS", "POST PUT OPTIONS"},
		{"rooms and pages", &Server{Hub: &Hub{}, RoomOf: rooms, Pages: page}, nil, "/room", "GET, HEAD, POST, PUT, OPTIONS", "GET HEAD POST PUT DELETE PATCH OPTIONS BREW"},
		{"a mounted GET", &Server{Hub: &Hub{}}, mounts{"GET /api/": page}, "/api/x", "GET, HEAD, POST, PUT, OPTIONS", "GET HEAD POST PUT OPTIONS"},
		{"a mounted DELETE", &Server{Hub: &Hub{}}, mounts{"DELETE /thing": page, "PATCH /thing": page}, "/thing", "POST, PUT, PATCH, DELETE, OPTIONS", "POST PUT DELETE PATCH OPTIONS"},
		{"beside what is mounted", &Server{Hub: &Hub{}}, mounts{"DELETE /thing": page}, "/", "POST, PUT, OPTIONS", "POST PUT OPTIONS"},
		{"pages without a hub", &Server{Pages: page}, mounts{"/api/": page}, "/", "GET, HEAD, OPTIONS", "GET HEAD DELETE PATCH OPTIONS BREW"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for pattern, h := range tt.mounts {
				tt.server.Mount(pattern, h)
			}
			addr := serve(t, tt.server)
			want := strings.Split(tt.want, ", ")
			for _, method := range []string{"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW", "CONNECT"} {
				target, target405 := tt.target, want
				if method == "CONNECT" {
					target = "localhost:1"
				}
				if target == "*" && method != "OPTIONS" {
					continue // only OPTIONS may have the target *
				}
				c := dial(t, addr)
				send(t, c, method+" "+target+" HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
				resp := must(http.ReadResponse(bufio.NewReader(c), &http.Request{Method: method}))
				isServed := resp.StatusCode != http.StatusMethodNotAllowed && resp.StatusCode != http.StatusNotFound
				if want := slices.Contains(strings.Fields(tt.served), method); isServed != want {
					t.Errorf("%s: %s, served is %t", method, resp.Status, want)
				}
				got, told := resp.Header["Allow"]
				switch {
				case method == "CONNECT":
					if !told || slices.Contains(got, method) {
						t.Errorf("CONNECT: Allow: %q", got)
					}
				case resp.StatusCode == http.StatusMethodNotAllowed:
					target405 = slices.DeleteFunc(slices.Clone(want), func(m string) bool { return m == method })
					fallthrough
				case method == "OPTIONS":
					if !told || got[0] != strings.Join(target405, ", ") {
						t.Errorf("%s: Allow: %q, want %q", method, got, target405)
					}
				}
			}
		})
	}
}

// Without a hub the server has only what is mounted: elsewhere OPTIONS gets 404 too.
func TestAllowNothing(t *testing.T) {
	s := &Server{}
	s.Mount("/api/", http.NotFoundHandler())
	addr := serve(t, s)
	for _, method := range []string{"GET", "POST", "OPTIONS", "DELETE"} {
		got := talk(t, addr, method+" /nosuch HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
		if !strings.HasPrefix(got, "HTTP/1.1 404 ") {
			t.Errorf("%s: %q, want 404", method, got)
		}
	}
}
