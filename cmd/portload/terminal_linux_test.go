package main

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/portluck/portluck/cmd/internal/clitest"
)

// A person at a terminal sees the progress; nobody else does, and nobody who asked for JSON.
func TestProgressOnTerminal(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "portload")
	if err := os.Symlink(exe, name); err != nil {
		t.Fatal(err)
	}
	s := startServer(t, "tcp", &testServer{})
	for _, tc := range []struct {
		name, term string
		args       []string
		want       bool
	}{
		{"terminal", "xterm", nil, true},
		{"several processes", "xterm", []string{"--files", "67"}, true},
		{"JSON", "xterm", []string{"--json"}, false},
		{"dumb terminal", "dumb", nil, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			screen, tty := clitest.Terminal(t)
			cmd := exec.Command(name, append([]string{"echo", s.addr, "--clients", "4", "--rate", "100", "--count", "60"}, tc.args...)...)
			cmd.Env = append(os.Environ(), "TERM="+tc.term)
			cmd.Stderr = tty
			out, err := cmd.Output()
			if err != nil || !bytes.Contains(out, []byte("60")) {
				t.Fatalf("%v, %s", err, out)
			}
			if bytes.Contains(out, []byte(eraseLine)) {
				t.Errorf("progress in the report: %q", out)
			}
			tty.Close()
			b, _ := io.ReadAll(screen) // fails at the end: nobody writes any more
			if got := strings.Contains(string(b), "messages, "); got != tc.want {
				t.Errorf("the terminal shows %q; progress is %t, want %t", b, got, tc.want)
			}
			if tc.want && !bytes.HasSuffix(b, []byte(eraseLine)) {
				t.Errorf("the line is not erased: %q", b)
			}
		})
	}
}
