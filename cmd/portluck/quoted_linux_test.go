package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/portluck/portluck/cmd/internal/clitest"
	"github.com/portluck/portluck/cmd/portluck/internal/page"
	"github.com/portluck/portluck/handlers/mesh"
	"github.com/portluck/portluck/testdata/need"
)

// oddName is the name of a directory, with every character at which a shell splits, expands or ends
// a word.
const oddName = `it's a "dir" of $HOME & [a-z]*;#x`

// words returns the words into which a shell in dir splits each command. A pipe is the word |.
func words(t *testing.T, dir string, lines ...string) [][]string {
	t.Helper()
	var script strings.Builder
	for _, line := range lines {
		for i, part := range strings.Split(line, " | ") {
			if i > 0 {
				script.WriteString("printf '|\\0'\n")
			}
			script.WriteString("set -- " + part + "\n" + `for word; do printf '%s\0' "$word"; done` + "\n")
		}
		script.WriteString("printf '\\0'\n") // an empty word ends a command; none has one
	}
	cmd := exec.Command(need.Program(t, "sh"), "-e", "-c", script.String())
	cmd.Dir = dir
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("a shell cannot read %q: %v", lines, err)
	}
	var all [][]string
	for _, one := range strings.Split(strings.TrimSuffix(string(out), "\x00\x00"), "\x00\x00") {
		all = append(all, strings.Split(one, "\x00"))
	}
	if len(all) != len(lines) {
		t.Fatalf("a shell makes %q of %q", all, lines)
	}
	return all
}

// install links or copies the test binary to dir/portluck, where it is the command portluck.
func install(t *testing.T, dir string) (path string) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(dir, "portluck")
	if os.Link(exe, path) == nil {
		return path
	}
	in, err := os.Open(exe)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o700)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(out, in); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// printed starts the server exe on a terminal. It returns the commands that the server prints, by
// what they do, and its address.
func printed(t *testing.T, exe string, args ...string) (lines map[string]string, addr string) {
	t.Helper()
	screen, tty := clitest.Terminal(t)
	cmd := exec.Command(exe, append([]string{"serve", "--log-level", "error"}, args...)...)
	cmd.Env = slices.DeleteFunc(os.Environ(), func(s string) bool { return strings.HasPrefix(s, envPrefix) })
	cmd.Env = append(cmd.Env, "TERM=xterm", "HOME=/nowhere", "PATH=/nowhere")
	cmd.Stdout, cmd.Stderr = tty, tty
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	screen.SetReadDeadline(time.Now().Add(time.Minute))
	lines = map[string]string{}
	for out := bufio.NewReader(screen); ; {
		line, err := out.ReadString('\n')
		if err != nil {
			t.Fatalf("after %q: %v", lines, err)
		}
		line = strings.TrimSuffix(line, "\r\n")
		if at, ok := strings.CutPrefix(line, "listening on "); ok {
			addr = at
			continue
		}
		if len(line) < 23 || !strings.HasPrefix(line, "  ") {
			t.Fatalf("it prints %q", line)
		}
		lines[strings.TrimSpace(line[:22])] = line[23:]
		if _, last := lines["UDP"]; last || strings.HasPrefix(addr, "unix:") && lines["stream, shared port"] != "" {
			return lines, addr
		}
	}
}

// A shell splits each printed command into the right words, whatever the paths are.
func TestPrintedCommands(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), oddName)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	in := func(name string) string { return filepath.Join(dir, name) }
	exe := install(t, dir)
	meshName := fmt.Sprintf("-t%d", rand.Uint64N(1e11))
	got, addr := printed(t, exe, "--listen", "127.0.0.1:0", "--config-dir", in("config"), "--alldata", in("events"), "--echo-stream", "unix:"+in("echo"),
		"--callosum", "127.0.0.1:0", "--mesh", meshName, "--udp")
	_, port, _ := net.SplitHostPort(addr)
	at := "localhost:" + port
	ca := in("config/ca.pem")
	_, slot, _ := strings.Cut(got["a slot"], "nc localhost ")
	want := map[string][]string{
		"browser":             {"http://" + at + "/"},
		"HTTP":                {"curl", "-d", "hello", "http://" + at + "/"},
		"HTTP/2":              {"curl", "--http2-prior-knowledge", "-d", "hello", "http://" + at + "/"},
		"HTTP, both ways":     {"curl", "-sN", "-T", "-", "http://" + at + "/"},
		"server-sent events":  {"curl", "-sN", "-H", "Accept: text/event-stream", "http://" + at + "/"},
		"raw TCP":             {"nc", "localhost", port},
		"WebSocket":           {exe, "chat", "ws://" + at + "/"},
		"HTTPS":               {"curl", "--cacert", ca, "-d", "hello", "https://" + at + "/"},
		"raw TLS":             {"openssl", "s_client", "-quiet", "-CAfile", ca, "-connect", at},
		"WebSocket over TLS":  {exe, "chat", "wss://" + at + "/"},
		"put an event":        {"curl", "-si", "-d", `{"key":"key1","event":{"foo":"bar"}}`, "http://" + at + "/_put"},
		"put, with a new key": {exe, "put", "http://" + at + "/_put", `{"foo":"bar"}`},
		"stream":              {"nc", "-N", "-U", in("echo")},
		"stream, shared port": {"echo", "ECHO", "me", "|", "nc", "-N", "localhost", port},
		"a pool of slots":     {exe, "slots", "localhost:" + slot},
		"a slot":              {"nc", "localhost", slot},
		"slots on this port":  {exe, "slots", "--preface", at},
		"mesh: listen":        {exe, "mesh", "--", meshName},
		"mesh: another":       {exe, "serve", "--listen", "127.0.0.1:0", "--mesh", meshName},
		"raw UDP":             {"nc", "-u", "127.0.0.1", port},
		"UDP":                 {exe, "chat", "udp://127.0.0.1:" + port},
	}
	wantWords(t, dir, got, want)

	// The page shows the same commands, with the host that the browser used.
	shown := map[string]string{"browser": got["browser"]}
	for _, path := range []string{"commands", "panels"} {
		for what, line := range shownAt(t, addr, at, path) {
			shown[what] = line
		}
	}
	wantWords(t, dir, shown, want)
}

// wantWords checks that got has the commands of want, and that a shell splits each into its words.
func wantWords(t *testing.T, dir string, got map[string]string, want map[string][]string) {
	t.Helper()
	whats := slices.Sorted(maps.Keys(got))
	if want := slices.Sorted(maps.Keys(want)); !slices.Equal(whats, want) {
		t.Errorf("there are commands for %q, want %q", whats, want)
	}
	lines := make([]string, len(whats))
	for i, what := range whats {
		lines[i] = got[what]
	}
	for i, got := range words(t, dir, lines...) {
		if want := want[whats[i]]; !slices.Equal(got, want) {
			t.Errorf("%s: %s is %q, want %q", whats[i], lines[i], got, want)
		}
	}
}

// shownAt returns the commands at a path, commands or panels, of the server at addr, for a browser
// that sends host.
func shownAt(t *testing.T, addr, host, path string) map[string]string {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, "http://"+addr+"/"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = host
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var commands []page.Command
	var panels []page.Panel
	var to any = &commands
	if path == "panels" {
		to = &panels
	}
	if err := json.NewDecoder(resp.Body).Decode(to); err != nil {
		t.Fatalf("%s: %s, %v", path, resp.Status, err)
	}
	for _, p := range panels {
		commands = append(commands, p.Commands...)
	}
	lines := map[string]string{}
	for _, c := range commands {
		lines[c.What] = c.Command
	}
	return lines
}

// Commands for Unix sockets are quoted too.
func TestPrintedCommandsOfSockets(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "it's a $HOME")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	socket, echo := filepath.Join(dir, "s"), filepath.Join(dir, "e")
	got, _ := printed(t, install(t, dir), "--tls", "off", "--require-origin", "--listen", "unix:"+socket, "--alldata", filepath.Join(dir, "events"), "--echo-stream", "unix:"+echo)
	wantWords(t, dir, got, map[string][]string{
		"raw":                 {"nc", "-U", socket},
		"HTTP":                {"curl", "--unix-socket", socket, "-d", "hello", "-H", "Origin: http://localhost", "http://localhost/"},
		"put an event":        {"curl", "-si", "--unix-socket", socket, "-d", `{"key":"key1","event":{"foo":"bar"}}`, "http://localhost/_put"},
		"stream":              {"nc", "-N", "-U", echo},
		"stream, shared port": {"echo", "ECHO", "me", "|", "nc", "-N", "-U", socket},
	})
}

// A shell does not take the brackets of an IPv6 address for a pattern, even if files match it. A
// path that begins with - is not taken for an option.
func TestCommandsOfHosts(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	// The pattern [::1] would match each of these files.
	for _, name := range []string{"http:/1:8100", "https:/1:8100", "ws:/1:8100", "wss:/1:8100", "1:8100"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, e := range []entrance{{tls: true, ca: "/ca it's.pem"}, {tls: true, requireOrigin: true}} {
		for host, nc := range map[string][]string{
			"[::1]:8100": {"nc", "::1", "8100"}, "example.com:8100": {"nc", "example.com", "8100"}, "a_b-c.example": {"nc", "a_b-c.example", "80"},
		} {
			lines := pageLines(host, e)
			commands := make([]string, len(lines))
			for i, line := range lines {
				commands[i] = line.Command
			}
			for i, got := range words(t, dir, commands...) {
				line := lines[i]
				if line.What == "raw TCP" {
					if !slices.Equal(got, nc) {
						t.Errorf("%s is %q, want %q", line.Command, got, nc)
					}
					continue
				}
				full := host
				if !strings.Contains(host, ":8100") {
					full += ":80"
				}
				if last := got[len(got)-1]; last != full && !strings.HasSuffix(last, "://"+full+"/") {
					t.Errorf("%s ends in %q, want the host %s", line.Command, last, full)
				}
			}
		}
	}
	for path, want := range map[string]string{"-x": "nc -U ./-x", "@x": "nc -U @x", "/a b": "nc -U '/a b'"} {
		if got := socketLines(path, entrance{})[0].Command; got != want {
			t.Errorf("the command for the socket %s is %s, want %s", path, got, want)
		}
	}
	if got, want := socketLines("@x", entrance{})[1].Command, "curl --abstract-unix-socket x -d hello http://localhost/"; got != want {
		t.Errorf("the command for an abstract socket is %s, want %s", got, want)
	}
}

// The path of a mesh's key is one word, and a name that begins with - is not an option.
func TestCommandsOfMesh(t *testing.T) {
	t.Parallel()
	key := "/" + oddName + "/key"
	s := meshService{
		name: "-demo", keyFile: key, at: netip.MustParseAddrPort("192.0.2.1:8100"), node: &mesh.Node{}, plane: &mesh.Backplane{},
	}
	lines := s.panel().Commands
	got := words(t, t.TempDir(), lines[0].Command, lines[1].Command)
	for i, want := range []string{"mesh|--lan|--key|" + key + "|--|-demo", "serve|--listen|127.0.0.1:0|--mesh|-demo|--mesh-key|" + key} {
		if got := strings.Join(got[i], "|"); !strings.HasSuffix(got, "|"+want) {
			t.Errorf("%s is %s, want %s", lines[i].Command, got, want)
		}
	}
}

// The command that makes a key names the file as one word.
func TestKeyCommand(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), oddName)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "key")
	if err := os.WriteFile(file, []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := readKey("--key", file)
	_, line, ok := strings.Cut(fmt.Sprint(err), "make one with: ")
	if !ok {
		t.Fatalf("readKey() = %v", err)
	}
	if out, err := exec.Command(need.Program(t, "sh"), "-c", line).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v, %s", line, err, out)
	}
	if key, err := readKey("--key", file); err != nil || len(key) < 32 {
		t.Errorf("after %s: %d bytes, %v", line, len(key), err)
	}
}
