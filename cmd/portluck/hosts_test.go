package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/portluck/portluck/portluck"
)

// askHost requests path from addr, with host in the Host header.
func askHost(t *testing.T, addr, path, host string) (status int, body string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+addr+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = host
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// A page of a stranger's host can reach neither the port nor that of --debug. --host allows hosts.
func TestHosts(t *testing.T) {
	defer http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	var said strings.Builder
	stop, err := serveDebug("127.0.0.1:0", &portluck.Server{Hosts: []string{"app.example"}}, &said)
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	debug, _, _ := strings.Cut(strings.TrimPrefix(said.String(), "debug on http://"), "/")
	addr, _ := startServer(t, "--tls", "off", "--host", "app.example,*.b.example", "--host", "c.example", "--allow-origin", "evil.example")
	paths := map[string][]string{
		debug: {"/debug/vars", "/debug/pprof/", "/debug/pprof/cmdline", "/debug/pprof/goroutine?debug=2", "/"},
		addr:  {"/", "/connections", "/?since=", "/members", "/app.js"},
	}
	for to, all := range paths {
		for _, path := range all {
			for host, want := range map[string]bool{"evil.example": false, "d.app.example:80": false, "localhost": true, to: true, "App.example:9": true} {
				status, body := askHost(t, to, path, host)
				if (status != http.StatusMisdirectedRequest) != want || !want && !strings.Contains(body, "--host") {
					t.Errorf("%s%s for %s: %d %.100q, want an answer: %t", to, path, host, status, body, want)
				}
			}
		}
	}
	for _, host := range []string{"b.example", "a.b.example", "c.example"} {
		if status, _ := askHost(t, addr, "/", host); status != http.StatusOK {
			t.Errorf("for %s: %d", host, status)
		}
	}
}

func TestCheckHosts(t *testing.T) {
	for _, host := range []string{"app.example", "*.app.example", "*", "a,b.example"} {
		if err := checked(t, "--host", host); err != nil {
			t.Errorf("--host %s: %v", host, err)
		}
	}
	for _, host := range []string{"https://app.example", "app.example:80", "app.example/x", "a,b c", ""} {
		if err := checked(t, "--host", host); err == nil || !strings.HasPrefix(err.Error(), "--host ") {
			t.Errorf("--host %q: %v", host, err)
		}
	}
	cmd := command(t, "--listen", "127.0.0.1:0")
	cmd.Env = append(os.Environ(), "PORTLUCK_HOST=http://x")
	if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), fmt.Sprintf("--host %q", "http://x")) {
		t.Errorf("PORTLUCK_HOST: %v: %s", err, out)
	}
}

// The page shows the first bytes of other clients to a visitor on this machine, and with
// --show-bytes to all. It shows secrets to nobody.
func TestFirstBytes(t *testing.T) {
	const far, near = "PROXY TCP4 192.0.2.1 192.0.2.2 1 80\r\n", "PROXY TCP4 127.0.0.1 127.0.0.1 1 80\r\n"
	for _, tt := range []struct {
		name, visitor, header string
		flags                 []string
		want                  bool
	}{
		{"here", near, "", nil, true},
		{"another machine", far, "", nil, false},
		{"by a proxy here", near, "X-Forwarded-For: 192.0.2.1\r\n", nil, false},
		{"another machine, by the flag", far, "", []string{"--show-bytes"}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			addr, _ := startServer(t, append(tt.flags, "--tls", "off", "--proxy-from", "127.0.0.1")...)
			ask := func(head string) string {
				c, err := net.Dial("tcp", addr)
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				if _, err := io.WriteString(c, head); err != nil {
					t.Fatal(err)
				}
				_ = c.(*net.TCPConn).CloseWrite()
				b, _ := io.ReadAll(c)
				return string(b)
			}
			ask(far + "PASS SECRET\n")
			ask(far + "GET /page?token=SECRET HTTP/1.0\r\nAuthorization: SECRET\r\n\r\n")
			got := ask(tt.visitor + "GET /connections HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n" + tt.header + "\r\n")
			if !strings.Contains(got, `"route":"raw"`) || !strings.Contains(got, `"remote":"192.0.2.1:1"`) {
				t.Errorf("the connections are not shown: %s", got)
			}
			for _, first := range []string{"PASS", "GET /page"} {
				if shown := strings.Contains(got, fmt.Sprintf(`"first":"%x"`, first)); shown != tt.want {
					t.Errorf("%q is shown: %t, want %t: %s", first, shown, tt.want, got)
				}
			}
			if strings.Contains(got, fmt.Sprintf("%x", "SECRET")) || strings.Contains(got, `"first"`) != tt.want {
				t.Errorf("it shows %s", got)
			}
		})
	}
}
