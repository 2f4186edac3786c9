package page

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/portluck/portluck/testdata/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

// ask returns the page's answer to a request with this host.
func ask(t *testing.T, method, path, host string) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	r := httptest.NewRequest(method, path, nil)
	r.Host = host
	Handler(source()).ServeHTTP(w, r)
	return w
}

// source returns what the page of these tests shows.
func source() Source {
	return Source{
		Members:     func() int { return 3 },
		Connections: func(*http.Request) any { return []map[string]any{{"id": 1, "first": "</script>"}} },
		Panels: func() []Panel {
			return []Panel{{Title: "Slots", Facts: []Fact{{"taken", "3"}}, Commands: []Command{{What: "ask", Command: "nc x 1"}}}}
		},
		Commands: commandsOf,
	}
}

func get(t *testing.T, path string) *httptest.ResponseRecorder {
	t.Helper()
	return ask(t, http.MethodGet, path, "localhost:8100")
}

func TestAnswers(t *testing.T) {
	const text, script = "text/plain; charset=utf-8", "text/javascript; charset=utf-8"
	tests := []struct {
		method, path string
		code         int
		kind, cache  string
	}{
		{"GET", "/", 200, "text/html; charset=utf-8", "no-cache"},
		{"GET", "/?a=b", 200, "text/html; charset=utf-8", "no-cache"},
		{"HEAD", "/", 200, "text/html; charset=utf-8", "no-cache"},
		{"GET", "/style.css", 200, "text/css; charset=utf-8", "no-cache"},
		{"GET", "/app.js", 200, script, "no-cache"},
		{"GET", "/log.js", 200, script, "no-cache"},
		{"GET", "/commands.js", 200, script, "no-cache"},
		{"GET", "/connections.js", 200, script, "no-cache"},
		{"GET", "/icon.svg", 200, "image/svg+xml", "no-cache"},
		{"GET", "/connections", 200, "application/json", "no-store"},
		{"GET", "/panels", 200, "application/json", "no-store"},
		{"GET", "/commands", 200, "application/json", "no-store"},
		{"GET", "/members", 200, "application/json", "no-store"},
		{"GET", "/poll.js", 200, script, "no-cache"},
		{"GET", "/panels.js", 200, script, "no-cache"},
		{"GET", "/index.html", 404, text, ""},
		{"GET", "/static/", 404, text, ""},
		{"GET", "/../page.go", 404, text, ""},
		{"GET", "/connections/", 404, text, ""},
		{"DELETE", "/", 405, text, ""},
		{"PATCH", "/connections", 405, text, ""},
		{"TRACE", "/nothing", 405, text, ""},
	}
	for _, tt := range tests {
		t.Run(tt.method+tt.path, func(t *testing.T) {
			w := ask(t, tt.method, tt.path, "localhost:8100")
			if w.Code != tt.code {
				t.Errorf("code = %d, want %d", w.Code, tt.code)
			}
			allow := ""
			if tt.code == http.StatusMethodNotAllowed {
				allow = "GET, HEAD, POST, PUT, OPTIONS"
			}
			for name, want := range map[string]string{
				"Content-Type": tt.kind, "Cache-Control": tt.cache, "Allow": allow,
				"Content-Security-Policy": policy(" ws://localhost:8100 wss://localhost:8100"),
				"X-Content-Type-Options":  "nosniff", "Referrer-Policy": "no-referrer",
			} {
				if got := w.Header().Get(name); got != want {
					t.Errorf("%s = %q, want %q", name, got, want)
				}
			}
			if got, want := w.Body.Len() > 0, tt.method != http.MethodHead; got != want {
				t.Errorf("has a body = %t, want %t", got, want)
			}
		})
	}
}

// policy returns the page's policy, with sockets among the targets of connections.
func policy(sockets string) string {
	return "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'" + sockets +
		"; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}

// The policy leaves out a host that would change it.
func TestPolicyHost(t *testing.T) {
	tests := []struct{ name, host, sockets string }{
		{"name", "a-b_c.Example:8100", " ws://a-b_c.Example:8100 wss://a-b_c.Example:8100"},
		{"IPv6", "[::1]:8100", " ws://[::1]:8100 wss://[::1]:8100"},
		{"none", "", ""},
		{"directive", "x;script-src", ""},
		{"policy", "x,default-src", ""},
		{"any", "*", ""},
		{"keyword", "x'unsafe-inline'", ""},
		{"space", "x y", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := ask(t, http.MethodGet, "/", tt.host).Header().Get("Content-Security-Policy")
			if want := policy(tt.sockets); got != want {
				t.Errorf("policy = %q, want %q", got, want)
			}
		})
	}
}

// The page has no inline scripts or styles, which its policy forbids, and refers only to parts that
// exist.
func TestReferences(t *testing.T) {
	index := get(t, "/").Body.String()
	for _, inline := range []string{"<style", " style=", " onclick=", "javascript:", "<script>"} {
		if strings.Contains(index, inline) {
			t.Errorf("the page has an inline %q", inline)
		}
	}
	for _, id := range []string{"log", "form", "input", "send", "state", "members", "connections", "panels"} {
		if got := strings.Count(index, ` id="`+id+`"`); got != 1 {
			t.Errorf("%d elements are #%s, want 1", got, id)
		}
	}
	text := index
	for _, script := range []string{"app", "commands", "connections", "log", "panels", "poll"} {
		text += get(t, "/"+script+".js").Body.String()
	}
	found := regexp.MustCompile(`(?:href="|src="|from "|fetch\("|poll\("|URL\(")([^"]*)"`).FindAllStringSubmatch(text, -1)
	if len(found) < 12 {
		t.Errorf("the page has %d references, want more", len(found))
	}
	for _, m := range found {
		if strings.HasPrefix(m[1], "/") { // a proxy may serve the page below a path
			t.Errorf("%q is not relative", m[1])
		}
		if got := get(t, "/"+strings.TrimPrefix(m[1], "./")).Code; got != http.StatusOK {
			t.Errorf("GET %s = %d, want 200", m[1], got)
		}
	}
}

// The page is the same below a prefix and at the root. A prefix without the last slash redirects,
// because the page would look for its parts beside the prefix.
func TestPrefix(t *testing.T) {
	for _, tt := range []struct {
		prefix, path string
		code         int
		location     string
		same         string // path of the same answer at the root, if code is 200
	}{
		{"/chat", "/chat/", 200, "", "/"},
		{"/chat", "/chat/app.js", 200, "", "/app.js"},
		{"/chat", "/chat/members", 200, "", "/members"},
		{"/chat", "/chat/panels", 200, "", "/panels"},
		{"/chat", "/chat/commands", 200, "", "/commands"},
		{"/chat", "/chat/connections", 200, "", "/connections"},
		{"/chat", "/", 200, "", "/"},
		{"/chat", "/app.js", 200, "", "/app.js"},
		{"/chat", "/chat", 307, "chat/", ""},
		{"/chat", "/chat?a=b%2f", 307, "chat/?a=b%2f", ""},
		{"/a/b.c~", "/a/b.c~", 307, "b.c~/", ""},
		{"/a/b.c~", "/a/b.c~/icon.svg", 200, "", "/icon.svg"},
		{"/a/b", "/a/", 404, "", ""},
		{"/chat", "/chat/chat/", 404, "", ""},
		{"/chat", "/chatter", 404, "", ""},
		{"/chat", "/chatapp.js", 404, "", ""},
		{"/chat", "/chat//", 404, "", ""},
		{"/chat", "//chat/", 404, "", ""},
		{"/chat", "/CHAT/", 404, "", ""},
		{"/app.js", "/app.js/", 200, "", "/"},
		{"", "/chat/", 404, "", ""},
		{"", "//app.js", 404, "", ""},
	} {
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			src := source()
			src.Prefix = tt.prefix
			w := httptest.NewRecorder()
			r := httptest.NewRequest(method, "http://localhost:8100/", nil)
			path, query, _ := strings.Cut(tt.path, "?")
			r.URL.Path, r.URL.RawQuery = path, query
			Handler(src).ServeHTTP(w, r)
			if w.Code != tt.code || w.Header().Get("Location") != tt.location {
				t.Errorf("%s %s of %q: %d to %q, want %d to %q", method, tt.path, tt.prefix, w.Code, w.Header().Get("Location"), tt.code, tt.location)
			}
			if tt.same != "" && w.Body.String() != ask(t, method, tt.same, "localhost:8100").Body.String() {
				t.Errorf("%s %s of %q is not %s", method, tt.path, tt.prefix, tt.same)
			}
			if w.Header().Get("Content-Security-Policy") == "" {
				t.Errorf("%s %s of %q has no policy", method, tt.path, tt.prefix)
			}
		}
	}
}

func TestConnections(t *testing.T) {
	var got []struct {
		ID    int
		First string
	}
	w := get(t, "/connections")
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || len(got) != 1 || got[0].First != "</script>" {
		t.Errorf("connections %s: %v", w.Body, err)
	}
}

func TestPanels(t *testing.T) {
	const want = `[{"title":"Slots","hint":"","facts":[{"name":"taken","value":"3"}],"commands":[{"what":"ask","command":"nc x 1"}]}]`
	if got := get(t, "/panels").Body.String(); got != want {
		t.Errorf("panels = %s, want %s", got, want)
	}
}

// The commands have the host that the browser sent, if it is safe in a command.
func TestCommands(t *testing.T) {
	const want = `[{"what":"raw","command":"nc example.com:8100"},{"what":"web","command":"curl example.com:8100"}]`
	if got := ask(t, http.MethodGet, "/commands", "example.com:8100").Body.String(); got != want {
		t.Errorf("commands = %s, want %s", got, want)
	}
	for _, host := range []string{"", "x;rm", "x y", "$(x)", "`x`", "-e:80"} {
		if got := ask(t, http.MethodGet, "/commands", host).Code; got != http.StatusBadRequest {
			t.Errorf("code for the host %q = %d, want 400", host, got)
		}
	}
}

// A page behind a proxy has the commands that work through the proxy, with the page's own URL.
func TestCommandsBehindProxies(t *testing.T) {
	const host = "example.com:8100"
	for _, tt := range []struct {
		name, at, field string
		code            int
		want            string // URL in the command "web"; empty if the page is not behind a proxy
	}{
		{"by itself", "http://example.com:8100/", "", 200, ""},
		{"below a path", "http://example.com:8100/chat/", "", 200, "http://example.com:8100/chat/"},
		{"of another name", "http://chat.example/", "", 200, "http://chat.example/"},
		{"over TLS", "https://example.com:8100/", "", 200, "https://example.com:8100/"},
		{"it says so", "http://example.com:8100/", "Via", 200, "http://example.com:8100/"},
		{"of IPv6", "https://[::1]:8443/a/b/", "", 200, "https://[::1]:8443/a/b/"},
		{"odd letters", "https://x/it's%20a$(b)/%c3%a9/", "", 200, "https://x/it's%20a$(b)/%c3%a9/"},
		{"what curl expands", "https://x/[1-9]{a,b}/", "", 200, "https://x/%5B1-9%5D%7Ba,b%7D/"},
		{"a query and a fragment", "https://x/a/?b#c", "", 200, "https://x/a/"},
		{"no slash", "https://x/a", "", 400, ""},
		{"no page", "file:///a/", "", 400, ""},
		{"a script", "javascript:x/", "", 400, ""},
		{"an odd host", "https://$(x)/", "", 400, ""},
		{"an option", "https://-x/", "", 400, ""},
		{"a password", "https://a:b@x/", "", 400, ""},
		{"another line", "https://x/\n/", "", 400, ""},
	} {
		r := httptest.NewRequest(http.MethodGet, "/commands?at="+url.QueryEscape(tt.at), nil)
		r.Host = host
		if tt.field != "" {
			r.Header.Set(tt.field, "1.1 x")
		}
		for _, path := range []string{"/commands", "/panels"} {
			r.URL.Path = path
			w := httptest.NewRecorder()
			Handler(Source{
				Panels:   func() []Panel { return []Panel{{Commands: commandsOf("")}} },
				Commands: commandsOf,
			}).ServeHTTP(w, r)
			var commands []Command
			if w.Code == 200 && path == "/commands" {
				if err := json.Unmarshal(w.Body.Bytes(), &commands); err != nil {
					t.Fatal(err)
				}
			} else if w.Code == 200 {
				var panels []Panel
				if err := json.Unmarshal(w.Body.Bytes(), &panels); err != nil {
					t.Fatal(err)
				}
				commands = panels[0].Commands
			}
			switch {
			case w.Code != tt.code:
				t.Errorf("%s, %s: code %d, want %d", tt.name, path, w.Code, tt.code)
			case tt.code != 200:
			case tt.want == "" && len(commands) != 2, tt.want != "" && (len(commands) != 1 || commands[0].Command != tt.want):
				t.Errorf("%s, %s: %+v, want %s", tt.name, path, commands, tt.want)
			}
		}
	}
}

func commandsOf(host string) []Command {
	return []Command{{What: "raw", Command: "nc " + host}, {What: "web", Command: "curl " + host, Web: (*url.URL).String}}
}

func TestMembers(t *testing.T) {
	if got := get(t, "/members").Body.String(); got != "3" {
		t.Errorf("members = %s, want 3", got)
	}
}

func TestConnectionsNotJSON(t *testing.T) {
	w := httptest.NewRecorder()
	Handler(Source{Connections: func(*http.Request) any { return func() {} }}).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/connections", nil))
	if w.Code != http.StatusInternalServerError {
		t.Errorf("code = %d, want 500", w.Code)
	}
}

func TestNotModified(t *testing.T) {
	tag := get(t, "/").Header().Get("ETag")
	tests := []struct {
		name, match string
		code        int
	}{
		{"same", tag, 304},
		{"weak", "W/" + tag, 304},
		{"list", `"x", ` + tag, 304},
		{"other", `"x"`, 200},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r.Header.Set("If-None-Match", tt.match)
			Handler(Source{}).ServeHTTP(w, r)
			if w.Code != tt.code || (w.Body.Len() > 0) != (tt.code == 200) {
				t.Errorf("code = %d with %d bytes, want %d", w.Code, w.Body.Len(), tt.code)
			}
		})
	}
}
