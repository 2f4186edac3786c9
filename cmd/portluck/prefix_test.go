package main

import (
	"encoding/json"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/portluck/portluck/cmd/portluck/internal/page"
)

// A reverse proxy may serve the server below a path, which it removes or passes on. Below that path
// are the page, all that the page requests, and the path of events. The commands have the path too.
func TestBehindAPrefix(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name     string
		keepPath bool
		args     []string
		put      string // path of events
	}{
		{"taken off", false, nil, "_put"},
		{"taken off, with the flag", false, []string{"--prefix", "/chat"}, "_put"},
		{"kept", true, []string{"--prefix", "/chat"}, "_put"},
		{"kept, with a slash", true, []string{"--prefix", "/chat/"}, "_put"},
		{"kept, events at the root", true, []string{"--prefix", "/chat", "--alldata-path", "/"}, ""},
		{"kept, events at a path like the prefix", true, []string{"--prefix", "/chat", "--alldata-path", "/chat/put"}, "chat/put"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := startProcess(t, append([]string{"--tls", "off", "--alldata", filepath.Join(t.TempDir(), "events")}, tt.args...)...)
			proxy := newPrefixProxy(t, p.addr, true, tt.keepPath)
			base := proxy.URL + "/chat/"
			for path, want := range map[string]string{
				"": "<html", "app.js": "WebSocket", "style.css": "{", "icon.svg": "<svg", "members": "", "connections": "[", "?since=": "",
			} {
				if code, body := ask(t, proxy.Client(), http.MethodGet, base+path, ""); code != http.StatusOK || !strings.Contains(body, want) {
					t.Errorf("GET %s: %d with %.100q, want %q", path, code, body, want)
				}
			}
			if code, body := ask(t, proxy.Client(), http.MethodGet, proxy.URL+"/chat", ""); code != http.StatusOK || !strings.Contains(body, "<html") {
				t.Errorf("without the last slash: %d with %.100q", code, body)
			}
			const event = `{"key":"key1","event":{"foo":"bar"}}`
			if code, body := ask(t, proxy.Client(), http.MethodPost, base+tt.put, event); code != http.StatusCreated {
				t.Errorf("an event: %d with %q", code, body)
			}
			if got, want := shownBehind(t, proxy.Client(), base), []string{"curl -d hello " + base, "curl -si -d '" + event + "' " + base + tt.put}; !slices.Contains(got, want[0]) || !slices.Contains(got, want[1]) {
				t.Errorf("the page has %q, want %q too", got, want)
			}
			talks(t, "wss"+strings.TrimPrefix(base, "https")+"?lines=json")
		})
	}
}

// ask makes a request, and returns the status code and the body of the answer.
func ask(t *testing.T, client *http.Client, method, url, body string) (code int, answer string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	all, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(all)
}

// shownBehind returns the commands that the page at base shows.
func shownBehind(t *testing.T, client *http.Client, base string) (lines []string) {
	t.Helper()
	get := func(path string, to any) {
		t.Helper()
		code, body := ask(t, client, http.MethodGet, base+path+"?at="+base, "")
		if err := json.Unmarshal([]byte(body), to); err != nil {
			t.Fatalf("%s: %d, %v", path, code, err)
		}
	}
	var commands []page.Command
	var panels []page.Panel
	get("commands", &commands)
	get("panels", &panels)
	for _, p := range panels {
		commands = append(commands, p.Commands...)
	}
	for _, c := range commands {
		lines = append(lines, c.Command)
	}
	return lines
}

// talks sends a line over the page's WebSocket at url, and waits for it to come back.
func talks(t *testing.T, url string) {
	t.Helper()
	c, err := dial(t.Context(), url, &trust{insecure: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	const said = "over the proxy"
	if err := c.send(said); err != nil {
		t.Fatal(err)
	}
	for {
		line, err := c.receive()
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(line, said) {
			return
		}
	}
}

func TestCheckPrefix(t *testing.T) {
	for prefix, want := range map[string]string{
		"/chat": "/chat", "/chat/": "/chat", "/a/b.c~d-e_f": "/a/b.c~d-e_f", "/": "",
		"chat": "no", "chat/": "no", "//": "no", "/chat//": "no", "//host/chat": "no", "/a//b": "no", "/../a": "no", "/a/..": "no", "/.": "no",
		"/{x}": "no", "/a b": "no", "/ä": "no", "/a?b": "no", "/a#b": "no", "/%41": "no", "https://host/chat": "no", "/a;b": "no", "/a\nb": "no",
	} {
		o, err := parsed(t, "--prefix", prefix)
		if (err != nil) != (want == "no") || err == nil && o.prefix != want {
			t.Errorf("%q is %q, %v, want %q", prefix, o.prefix, err, want)
		}
		if err != nil && !strings.HasPrefix(err.Error(), "--prefix ") {
			t.Errorf("%q is not about --prefix", err)
		}
	}
	if err := checked(t, "--prefix", ""); err == nil || !strings.HasPrefix(err.Error(), "--prefix ") {
		t.Errorf("an empty one: %v", err)
	}
}

// Every printed URL has the prefix.
func TestLinesOfPrefix(t *testing.T) {
	e := entrance{tls: true, prefix: "/a/b"}
	lines := slices.Concat(clientLines("localhost:8100", e), socketLines("/s", e), pageLines("chat.example", e),
		putLines("localhost:8100", "/a/b", "/_put"), putLines("unix:/s", "/a/b", "/_put"))
	urls := 0
	for _, line := range lines {
		for _, word := range strings.Fields(line.Command) {
			if _, at, ok := strings.Cut(word, "://"); ok {
				urls++
				if _, path, _ := strings.Cut(at, "/"); path != "a/b/" && path != "a/b/_put" {
					t.Errorf("%s: %s", line.What, line.Command)
				}
			}
		}
	}
	if urls != 19 {
		t.Errorf("%d URLs in %v", urls, lines)
	}
}
