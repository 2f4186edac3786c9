package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The README's lines for streams get the answers that it shows, on the address of --echo-stream and
// on the shared port.
func TestReadmeStreams(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	needs(t, "nc")
	path := filepath.Join(t.TempDir(), "s")
	addr, _ := startServer(t, "--echo-stream", "unix:"+path)
	_, port, _ := strings.Cut(addr, ":")
	replace := strings.NewReplacer("localhost 8124", "-U "+path, "localhost 8100", "localhost "+port)
	lines := regexp.MustCompile("`(echo ([^|`]+) \\| nc -N localhost [0-9]+)`").FindAllStringSubmatch(string(readme), -1)
	if len(lines) != 2 {
		t.Fatalf("%d lines, want 2", len(lines))
	}
	for _, line := range lines {
		out, err := exec.Command("timeout", "60", "sh", "-c", replace.Replace(line[1])).CombinedOutput()
		if want := "hello\r\n" + line[2] + "\ngoodbye\r\n"; string(out) != want || err != nil {
			t.Errorf("%s: %q, %v, want %q", line[1], out, err, want)
		}
	}
}
