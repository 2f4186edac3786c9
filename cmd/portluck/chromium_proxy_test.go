package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/portluck/portluck/testdata/need"
)

// wantCopied checks that the page at https://chat.example/chat/ shows just the commands that work
// through its proxy, and returns them.
func wantCopied(ctx context.Context, t *testing.T) []string {
	t.Helper()
	const base = "chat.example/chat/"
	want := []string{
		"curl -d hello https://" + base,
		"curl -sN -H 'Accept: text/event-stream' https://" + base,
		self() + " chat wss://" + base,
		`curl -si -d '{"key":"key1","event":{"foo":"bar"}}' https://` + base + "_put",
		self() + ` put https://` + base + `_put '{"foo":"bar"}'`,
	}
	got := evaluate[[]string](ctx, t, `[...document.querySelectorAll(".commands code")].map((e) => e.textContent)`)
	for i := range got {
		// The server names its own program, which is not that of the test.
		if _, args, ok := strings.Cut(got[i], " chat "); ok {
			got[i] = self() + " chat " + args
		} else if _, args, ok := strings.Cut(got[i], " put "); ok {
			got[i] = self() + " put " + args
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("the page has %q, want %q", got, want)
	}
	return got
}

// runCopied runs the curl commands that end by themselves, as they are printed. curl connects to
// the proxy at addr instead of chat.example.
func runCopied(t *testing.T, addr net.Addr, commands []string) {
	t.Helper()
	need.Program(t, "curl")
	need.Program(t, "sh")
	home, ran := t.TempDir(), 0
	config := fmt.Sprintf("insecure\nfail\nsilent\nmax-time = 60\nconnect-to = chat.example:443:%s\n", addr)
	if err := os.WriteFile(filepath.Join(home, ".curlrc"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, line := range commands {
		if !strings.HasPrefix(line, "curl ") || !strings.Contains(line, " -d ") {
			continue
		}
		ran++
		cmd := exec.Command("sh", "-c", line)
		cmd.Env = append(os.Environ(), "CURL_HOME="+home)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", line, err, out)
		}
	}
	if ran != 2 {
		t.Errorf("%d commands were run, want 2", ran)
	}
}

// A prefixProxy is a reverse proxy that serves https://chat.example/chat/ from a server.
type prefixProxy struct {
	*httptest.Server

	mu    sync.Mutex
	stray []string // requested URLs outside of /chat/
}

// newPrefixProxy starts a prefixProxy for the server at addr. With keepHost it passes on the Host
// of the browser, as Caddy does, and otherwise sends addr, as nginx does. With keepPath it passes
// on the path as it is, and otherwise removes /chat.
func newPrefixProxy(t *testing.T, addr string, keepHost, keepPath bool) *prefixProxy {
	t.Helper()
	p := &prefixProxy{}
	to := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(&url.URL{Scheme: "http", Host: addr})
		r.SetXForwarded()
		if keepHost {
			r.Out.Host = r.In.Host
		}
	}}
	mux := http.NewServeMux()
	if keepPath {
		mux.Handle("/chat", to)
		mux.Handle("/chat/", to)
	} else {
		mux.Handle("/chat/", http.StripPrefix("/chat", to))
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		p.stray = append(p.stray, r.URL.String())
		p.mu.Unlock()
		http.NotFound(w, r)
	})
	p.Server = httptest.NewTLSServer(mux)
	t.Cleanup(func() {
		p.CloseClientConnections()
		p.Close()
	})
	return p
}

// Behind a proxy that serves it below a path, the page works with its parts, WebSocket and panels.
// So do an event stream and a long poll of a page.
func TestChromiumBehindAPrefix(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		keepHost, keepPath bool
		flags              []string
	}{
		"the host stays":         {true, false, []string{"--host", "chat.example"}},
		"the host is of proxies": {false, false, []string{"--allow-origin", "chat.example"}},
		"the path stays":         {true, true, []string{"--host", "chat.example", "--prefix", "/chat"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			addr, _ := startServer(t, append(tt.flags, "--udp", "--alldata", filepath.Join(t.TempDir(), "events"),
				"--echo-stream", "127.0.0.1:0", "--callosum", "127.0.0.1:0")...)
			p := newPrefixProxy(t, addr, tt.keepHost, tt.keepPath)
			rules := fmt.Sprintf("MAP chat.example:443 %s", p.Listener.Addr())
			ctx, cancel := chromedp.NewContext(chromium(t, chromedp.Flag("host-resolver-rules", rules)))
			defer cancel()
			runCopied(t, p.Listener.Addr(), behindPrefix(ctx, t, addr))
			p.mu.Lock()
			defer p.mu.Unlock()
			if len(p.stray) > 0 {
				t.Errorf("outside of the prefix the browser asks for %q", p.stray)
			}
		})
	}
}

// behindPrefix uses https://chat.example/chat/ of the server at addr in the browser of ctx. It
// returns the commands that the page shows.
func behindPrefix(ctx context.Context, t *testing.T, addr string) (commands []string) {
	t.Helper()
	waitFor := func(js string) {
		t.Helper()
		if err := chromedp.Do(ctx, chromedp.Poll[chromedp.Void](js)); err != nil {
			t.Fatalf("%s: %v", js, err)
		}
	}
	raw, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	raw.SetDeadline(time.Now().Add(2 * time.Minute))
	heard := bufio.NewScanner(raw)
	say := func(text string) {
		t.Helper()
		fmt.Fprintln(raw, text)
		for heard.Scan() {
			if strings.HasSuffix(heard.Text(), text) {
				return
			}
		}
		t.Fatalf("the raw socket has not heard %q: %v", text, heard.Err())
	}
	say("from the socket")
	if err := chromedp.Do(ctx, chromedp.Navigate("https://chat.example/chat/")); err != nil {
		t.Fatal(err)
	}
	waitFor(`document.querySelector("#state").textContent === "connected"`)
	waitFor(`document.querySelector("#log").textContent.includes("from the socket")`)
	if err := chromedp.Do(ctx, chromedp.SendKeys("#input", "from the page\n")); err != nil {
		t.Fatal(err)
	}
	for ok := false; !ok; ok = strings.HasSuffix(heard.Text(), "] from the page") {
		if !heard.Scan() {
			t.Fatalf("the raw socket has not heard the page: %v", heard.Err())
		}
	}

	// The page has its parts and each panel.
	waitFor(`[...document.styleSheets].some((s) => s.cssRules.length > 0)`)
	waitFor(`document.querySelector("h1 img").naturalWidth > 0`)
	waitFor(`document.querySelectorAll("#commands li").length === 3`)
	waitFor(`document.querySelector("#members").textContent.includes("here")`)
	waitFor(`[...document.querySelectorAll("#connections tr")].some((r) => r.textContent.includes("raw"))`)
	waitFor(`["AllData", "Streams", "Slots", "UDP"].every((title) =>
		[...document.querySelectorAll("#panels > *")].some((p) => p.querySelector("h2").textContent === title && p.querySelector("dd")))`)
	commands = wantCopied(ctx, t)

	// A page may also read events and polls.
	evaluate[bool](ctx, t, `new Promise((done) => {
		window.events = [];
		const source = new EventSource("./");
		source.onmessage = (e) => events.push(e.data);
		source.onopen = () => done(true);
	})`)
	since := evaluate[string](ctx, t, `fetch("./?since=").then((a) => a.headers.get("Portluck-Position"))`)
	evaluate[bool](ctx, t, fmt.Sprintf(`(() => {
		window.polled = "";
		fetch("./?since=" + encodeURIComponent(%q)).then((a) => a.text()).then((text) => polled = text);
		return true;
	})()`, since))
	say("to all")
	waitFor(`window.polled.includes("to all")`)
	waitFor(`window.events.some((data) => data.includes("to all"))`)

	if got := evaluate[string](ctx, t, `performance.getEntriesByType("resource").map((e) => e.name)
		.filter((name) => !name.startsWith("https://chat.example/chat/")).join(" ")`); got != "" {
		t.Errorf("the page has asked for %s", got)
	}
	return commands
}
