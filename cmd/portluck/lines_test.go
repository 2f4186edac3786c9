package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/portluck/portluck/cmd/portluck/internal/page"
	"github.com/portluck/portluck/testdata/need"
)

// Only protocols that are on have a line.
func TestClientLinesOfWhatIsOn(t *testing.T) {
	tests := []struct {
		name string
		addr string
		e    entrance
		want string
	}{
		{
			"all", "localhost:8100",
			entrance{tls: true, ca: "/ca.pem"},
			"browser|HTTP|HTTP/2|HTTP, both ways|server-sent events|raw TCP|WebSocket|HTTPS|raw TLS|WebSocket over TLS",
		},
		{"TLS off", "localhost:8100", entrance{}, "browser|HTTP|HTTP/2|HTTP, both ways|server-sent events|raw TCP|WebSocket"},
		{"echo", "localhost:8100", entrance{echo: true}, "browser|HTTP|HTTP/2|HTTP, both ways|raw TCP|WebSocket"},
		{
			"no raw", "localhost:8100",
			entrance{tls: true, noRaw: true},
			"browser|HTTP|HTTP/2|HTTP, both ways|server-sent events|WebSocket|HTTPS|WebSocket over TLS",
		},
		{
			"origin", "localhost:8100",
			entrance{tls: true, requireOrigin: true},
			"browser|HTTP|HTTP/2|HTTP, both ways|server-sent events|raw TCP|HTTPS|raw TLS",
		},
		{"socket", "unix:/a b", entrance{tls: true}, "raw|HTTP"},
		{"socket, no raw", "unix:/a b", entrance{noRaw: true}, "HTTP"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var all []string
			for _, line := range clientLines(tt.addr, tt.e) {
				all = append(all, line.What)
				if tt.e.requireOrigin && strings.HasPrefix(line.Command, "curl") && !strings.Contains(line.Command, "-H 'Origin: http") {
					t.Errorf("%s has no Origin", line.Command)
				}
			}
			if got := strings.Join(all, "|"); got != tt.want {
				t.Errorf("lines for %s, want %s", got, tt.want)
			}
		})
	}
}

// The lines of the page have the host that the browser used.
func TestPageLines(t *testing.T) {
	for host, want := range map[string]string{
		"example.com": "nc example.com 80", "localhost:8100": "nc localhost 8100", "[::1]:8100": "nc ::1 8100", "[::1]": "nc ::1 80",
	} {
		lines := pageLines(host, entrance{})
		if lines[0].What != "HTTP" || !contains(lines, want) {
			t.Errorf("%s: %v, want %s and no browser", host, lines, want)
		}
	}
}

func contains(lines []page.Command, command string) bool {
	for _, line := range lines {
		if line.Command == command {
			return true
		}
	}
	return false
}

// A shell reads a quoted word as the word itself.
func TestQuote(t *testing.T) {
	need.Program(t, "sh")
	home := filepath.Join(t.TempDir(), "home")
	t.Setenv("HOME", home)
	t.Setenv("USERPROFILE", home)
	words := []string{
		"a", "/a/b.pem", "", "a b", "it's", "$HOME", "~", "~/x", "-a", "a;b", "a\nb", "*", "\\", `"`, "é", "a&b", "`x`", "#a",
		home, home + "/x", home + "/.config/portluck/ca.pem", home + "/a b", home + "x",
	}
	for _, word := range words {
		out, err := exec.Command("sh", "-c", "printf %s "+quote(word)).Output()
		if err != nil || string(out) != word {
			t.Errorf("quote(%q) = %s, which is %q, %v", word, quote(word), out, err)
		}
	}
	if got, want := quote(home+"/x/y"), "~/x/y"; got != want {
		t.Errorf("quote() = %s, want %s", got, want)
	}
}

// Commands name the program in a way in which the reader can start it.
func TestSelf(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	want := quote(exe)
	if ofGoRun(exe) {
		// go test builds its binaries where go run does.
		want = "go run github.com/portluck/portluck/cmd/portluck"
	}
	if got := self(); got != want {
		t.Errorf("self() = %s, want %s", got, want)
	}
	if ofGoRun(exe) {
		t.Chdir("../..")
		if got, want := self(), "go run ./cmd/portluck"; got != want {
			t.Errorf("self() at the root = %s, want %s", got, want)
		}
	}
	dir := t.TempDir()
	if err := os.Symlink(exe, filepath.Join(dir, "portluck")); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir)
	if got := self(); got != "portluck" {
		t.Errorf("self() on PATH = %s", got)
	}
	for exe, want := range map[string]bool{
		"/tmp/go-build123/b001/exe/portluck": true, "/root/.cache/go-build/ab/abcd-d/portluck": true,
		"/usr/bin/portluck": false, "/home/x/go-builder.d/../bin/portluck": false, "portluck": false,
	} {
		if got := ofGoRun(filepath.Clean(exe)); got != want {
			t.Errorf("ofGoRun(%s) = %t, want %t", exe, got, want)
		}
	}
}
