package httpd

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

func TestOtherMethods(t *testing.T) {
	p := &port{message: echo}
	addr, _ := serve(t, &Handler{}, p)
	w := dial(t, addr)
	for _, method := range []string{"GET", "DELETE", "PATCH", "BREW"} {
		w.send(method + " /x HTTP/1.1\r\nHost: x\r\n\r\n")
		if resp := w.expect(405, "Allowed methods are POST or PUT."); resp.Header.Get("Allow") != "POST, PUT, OPTIONS" {
			t.Errorf("%s: Allow: %q", method, resp.Header.Get("Allow"))
		}
	}
	w.send("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n")
	if resp := w.expect(200, ""); resp.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Error("CORS headers without an Origin")
	}
	w.send(post("still open"))
	w.expect(200, "still open\n")
	w.send("HEAD / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	if resp := w.head(); resp.StatusCode != 405 {
		t.Errorf("HEAD: %d", resp.StatusCode)
	}
	if rest, _ := io.ReadAll(w.r); len(rest) > 0 {
		t.Errorf("HEAD has a body %q", rest)
	}
	w = dial(t, addr)
	w.send("CONNECT a.b:443 HTTP/1.1\r\nHost: a.b:443\r\n\r\n")
	w.expect(405, "Allowed methods are POST or PUT.")
}

// The text of the refusal names the methods except OPTIONS, however few there are.
func TestRefusedMethod(t *testing.T) {
	for allowed, want := range map[string]string{
		"":                        "No method is allowed.",
		"OPTIONS":                 "No method is allowed.",
		"PUT":                     "The allowed method is PUT.",
		"PUT OPTIONS":             "The allowed method is PUT.",
		"GET HEAD":                "Allowed methods are GET or HEAD.",
		"GET HEAD DELETE OPTIONS": "Allowed methods are GET, HEAD or DELETE.",
	} {
		if got := refusedMethod(strings.Fields(allowed)); got != want {
			t.Errorf("%q: %q, want %q", allowed, got, want)
		}
	}
}

// Upgrade: h2c is not special: TRAPS part 2, row 17.
func TestTraps2Row17H2CUpgrade(t *testing.T) {
	addr, _ := serve(t, &Handler{}, &port{message: echo})
	w := dial(t, addr)
	w.send(strings.Replace(post("x"), "\r\n\r\n", "\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n", 1))
	w.expect(200, "x\n")
}

func TestOrigins(t *testing.T) {
	tests := []struct {
		name, origin string
		check        func(*http.Request) bool
		status       int
	}{
		{"same", "http://X", nil, 200},
		{"same with port", "http://x:80", nil, 200},
		{"other", "http://y", nil, 403},
		{"https before a proxy", "https://x", nil, 200},
		{"another scheme", "app://x", nil, 200},
		{"another scheme and host", "app://y", nil, 403},
		{"null", "null", nil, 403},
		{"allowed", "http://y", func(*http.Request) bool { return true }, 200},
		{"none", "", func(*http.Request) bool { return false }, 403},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := &port{}
			addr, _ := serve(t, &Handler{CheckOrigin: tt.check}, p)
			for _, method := range []string{"POST", "OPTIONS"} {
				w := dial(t, addr)
				origin := ""
				if tt.origin != "" {
					origin = "Origin: " + tt.origin + "\r\n"
				}
				w.send(method + " / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n" + origin + "\r\n")
				body := ""
				if tt.status != 200 {
					body = refusedOrigin
				}
				resp := w.expect(tt.status, body)
				if got := resp.Header["Vary"]; len(got) != 1 || got[0] != "Origin" {
					t.Errorf("%s: Vary: %q", method, got)
				}
				got, want := resp.Header.Get("Access-Control-Allow-Origin"), tt.origin
				if tt.status != 200 {
					want = ""
				}
				if got != want {
					t.Errorf("%s: Access-Control-Allow-Origin: %q, want %q", method, got, want)
				}
			}
			if got := p.wait(t, 1); strings.HasPrefix(got[0], "connect") != (tt.status == 200) {
				t.Errorf("events %q", got)
			}
		})
	}
}

const refusedOrigin = "A page of this origin may not talk to this server.\n"

// The CORS headers are upstream's, and those that an event stream needs.
func TestCORSHeaders(t *testing.T) {
	addr, _ := serve(t, &Handler{}, &port{message: echo})
	w := dial(t, addr)
	for _, method := range []string{"OPTIONS", "POST", "PUT"} {
		w.send(strings.Replace(post(""), "POST / HTTP/1.1\r\n", method+" / HTTP/1.1\r\nOrigin: HTTP://x:80\r\n", 1))
		resp := w.expect(200, "")
		for name, want := range map[string]string{
			"Access-Control-Allow-Origin": "HTTP://x:80", "Access-Control-Allow-Methods": "POST, PUT", "Access-Control-Allow-Credentials": "true",
			"Access-Control-Allow-Headers": "DNT,User-Agent,X-Requested-With,Content-Type,Cache-Control,Last-Event-ID", "Vary": "Origin",
		} {
			if got := resp.Header.Get(name); got != want {
				t.Errorf("%s: %s: %q, want %q", method, name, got, want)
			}
		}
	}
}

// The body of a refused request is not read without end, nor taken for the next request.
func TestRefusedBody(t *testing.T) {
	addr, _ := serve(t, &Handler{}, &port{message: echo})
	w := dial(t, addr)
	w.send("DELETE / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nbody!")
	w.expect(405, "Allowed methods are POST or PUT.")
	w.send(post("next"))
	w.expect(200, "next\n")
}
