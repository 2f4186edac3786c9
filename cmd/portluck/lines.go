package main

import (
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/portluck/portluck/cmd/portluck/internal/page"
)

// An entrance holds the settings that decide how clients can connect.
type entrance struct {
	ca            string // path of our own CA; empty if there is none
	prefix        string // of the URL's path
	tls           bool
	echo          bool // clients get back what they send; there is no room
	noRaw         bool
	requireOrigin bool
}

func (o *options) entrance(ca string) entrance {
	return entrance{ca: ca, prefix: o.prefix, tls: o.tls != "off", echo: o.echo, noRaw: o.noRaw, requireOrigin: o.requireOrigin}
}

// clientLines returns a command for each kind of client that connects to addr: host:port, or
// unix:PATH.
func clientLines(addr string, e entrance) []page.Command {
	if path, ok := strings.CutPrefix(addr, "unix:"); ok {
		return socketLines(path, e)
	}
	curl := func(scheme string, flags ...string) string {
		return shellLine("curl", slices.Concat(flags, e.origin(scheme+"://"+addr), []string{scheme + "://" + addr + e.prefix + "/"})...)
	}
	web := func(flags ...string) func(*url.URL) string {
		return func(at *url.URL) string {
			return shellLine("curl", slices.Concat(flags, e.origin(at.Scheme+"://"+at.Host), []string{at.String()})...)
		}
	}
	chat := func(scheme string) string { return self() + " " + shellLine("chat", scheme+"://"+addr+e.prefix+"/") }
	lines := []page.Command{
		{What: "browser", Command: "http://" + addr + e.prefix + "/"},
		{What: "HTTP", Command: curl("http", "-d", "hello"), Web: web("-d", "hello")},
		{What: "HTTP/2", Command: curl("http", "--http2-prior-knowledge", "-d", "hello")},
		{What: "HTTP, both ways", Command: curl("http", "-sN", "-T", "-")},
	}
	if !e.echo {
		events := []string{"-sN", "-H", "Accept: text/event-stream"}
		lines = append(lines, page.Command{What: "server-sent events", Command: curl("http", events...), Web: web(events...)})
	}
	if !e.noRaw {
		lines = append(lines, page.Command{What: "raw TCP", Command: shellLine("nc", ncAddress(addr)...)})
	}
	if !e.requireOrigin {
		lines = append(lines, page.Command{What: "WebSocket", Command: chat("ws"), Web: webSocket})
	}
	if !e.tls {
		return lines
	}
	var curlCA, opensslCA []string
	if e.ca != "" {
		curlCA, opensslCA = []string{"--cacert", e.ca}, []string{"-CAfile", e.ca}
	}
	lines = append(lines, page.Command{What: "HTTPS", Command: curl("https", append(curlCA, "-d", "hello")...)})
	if !e.noRaw {
		lines = append(lines, page.Command{
			What: "raw TLS", Command: shellLine("openssl", slices.Concat([]string{"s_client", "-quiet"}, opensslCA, []string{"-connect", addr})...),
		})
	}
	if !e.requireOrigin {
		lines = append(lines, page.Command{What: "WebSocket over TLS", Command: chat("wss")})
	}
	return lines
}

// webSocket returns the command that chats by WebSocket with the server of the page at this URL.
func webSocket(at *url.URL) string {
	ws := *at
	ws.Scheme = map[string]string{"http": "ws", "https": "wss"}[at.Scheme]
	return self() + " " + shellLine("chat", ws.String())
}

// socketLines is clientLines for a Unix socket.
func socketLines(path string, e entrance) (lines []page.Command) {
	if !e.noRaw {
		lines = append(lines, page.Command{What: "raw", Command: shellLine("nc", ncAddress("unix:"+path)...)})
	}
	const local = "http://localhost"
	return append(lines, page.Command{
		What: "HTTP", Command: shellLine("curl", slices.Concat(curlSocket(path), []string{"-d", "hello"}, e.origin(local), []string{local + e.prefix + "/"})...),
	})
}

// curlSocket returns curl's option for the Unix socket at path. A path that begins with @ names an
// abstract socket.
func curlSocket(path string) []string {
	if name, ok := strings.CutPrefix(path, "@"); ok {
		return []string{"--abstract-unix-socket", name}
	}
	return []string{"--unix-socket", path}
}

// ncAddress returns the arguments of nc for an address, host:port or unix:PATH.
func ncAddress(addr string) []string {
	if path, ok := strings.CutPrefix(addr, "unix:"); ok {
		if strings.HasPrefix(path, "-") {
			path = "./" + path // nc would take it for an option
		}
		return []string{"-U", path}
	}
	host, port, _ := net.SplitHostPort(addr)
	return []string{host, port}
}

// origin returns curl's option for the header that clients need with --require-origin.
func (e entrance) origin(own string) []string {
	if !e.requireOrigin {
		return nil
	}
	return []string{"-H", "Origin: " + own}
}

// pageLines returns the commands that the page shows to a browser that asked for host.
func pageLines(host string, e entrance) []page.Command {
	if _, _, err := net.SplitHostPort(host); err != nil {
		host += ":80" // a browser leaves out port 80
	}
	return clientLines(host, e)[1:] // the first one is the browser's
}

// shellLine returns the shell command that starts program with these arguments, quoted. program
// itself is already in shell syntax.
func shellLine(program string, args ...string) string {
	for _, arg := range args {
		program += " " + quote(arg)
	}
	return program
}

// quote returns s as one shell word. It writes the home directory as ~, which is shorter and hides
// the user's name from visitors of the page.
func quote(s string) string {
	home, err := os.UserHomeDir()
	if rest, ok := strings.CutPrefix(s, home+"/"); err == nil && ok && home != "/" && home != "" && isWord(rest) {
		return "~/" + rest
	}
	if isWord(s) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// isWord reports whether s needs no quotes in a shell.
func isWord(s string) bool {
	return s != "" && s[0] != '~' && s[0] != '=' && !strings.ContainsFunc(s, func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("_-./:@%+,=", r))
	})
}

// self returns the command that starts this program again: its name if PATH has it, go run if that
// started it, and else its path.
func self() string {
	const name = "portluck"
	if _, err := exec.LookPath(name); err == nil {
		return name
	}
	exe, err := os.Executable()
	switch {
	case err != nil:
		return name
	case !ofGoRun(exe):
		return quote(exe)
	case isFile(filepath.Join("cmd", name, "main.go")):
		return "go run ./cmd/portluck"
	}
	return "go run github.com/portluck/portluck/cmd/portluck"
}

// ofGoRun reports whether exe was built by go run, in a temporary directory or the build cache.
func ofGoRun(exe string) bool {
	for dir := filepath.Dir(exe); ; dir = filepath.Dir(dir) {
		if base := filepath.Base(dir); strings.HasPrefix(base, "go-build") {
			return true
		} else if dir == filepath.Dir(dir) {
			return false
		}
	}
}

func isFile(path string) bool {
	fi, err := os.Stat(path)
	return err == nil && fi.Mode().IsRegular()
}
