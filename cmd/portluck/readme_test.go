package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The lines of the README's table work as they are, except for the port.
func TestReadmeLines(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	addr, ca := startServer(t)
	_, port, _ := strings.Cut(addr, ":")
	t.Setenv("PORTLUCK_CONFIG_DIR", filepath.Dir(ca))
	replace := strings.NewReplacer("localhost:8100", "localhost:"+port, "localhost 8100", "localhost "+port,
		"~/.config/portluck/ca.pem", ca, "go run ./cmd/portluck", "portluck")
	lines := regexp.MustCompile("(?m)^\\| [^|]+ \\| `([^`]*8100[^`]*)` \\|$").FindAllStringSubmatch(string(readme), -1)
	if len(lines) != 9 {
		t.Fatalf("%d lines in the table, want 9", len(lines))
	}
	for _, line := range lines {
		t.Run(line[1], func(t *testing.T) {
			command := replace.Replace(line[1])
			needs(t, command)
			hears(t, command)
		})
	}
}

// The README's first program compiles as it is.
func TestReadmeProgram(t *testing.T) {
	t.Parallel()
	program := readmePrograms(t)[0]
	dir, err := os.MkdirTemp(".", "_readme") // ./... ignores a directory with this name
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.WriteFile(filepath.Join(dir, "main.go"), []byte(program), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("go", "vet", "./"+dir).CombinedOutput(); err != nil {
		t.Errorf("%s\n%s", program, out)
	}
}

// readmePrograms returns the README's two programs: an echo server, and one with TLS.
func readmePrograms(t *testing.T) []string {
	t.Helper()
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	programs := regexp.MustCompile(`(?m)^    package main\n(?:(?:    .*)?\n)+`).FindAllString(string(readme), -1)
	if len(programs) != 2 {
		t.Fatalf("%d programs, want 2", len(programs))
	}
	for i, p := range programs {
		programs[i] = strings.ReplaceAll(strings.TrimPrefix(p, "    "), "\n    ", "\n")
	}
	return programs
}

// The README's lines for AllData work as they are, except for the port.
func TestReadmeAllData(t *testing.T) {
	t.Parallel()
	needs(t, "curl")
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	lines := regexp.MustCompile("(?m)^    (.*(?:--alldata|_put).*)$").FindAllStringSubmatch(string(readme), -1)
	if len(lines) != 3 || !strings.HasSuffix(lines[0][1], " serve --alldata events") {
		t.Fatalf("lines %q, want a serve and two puts", lines)
	}
	p := startProcess(t, "--tls", "off", "--alldata", filepath.Join(t.TempDir(), "events"))
	replace := strings.NewReplacer("localhost:8100", p.addr, "go run ./cmd/portluck", "portluck")
	for i, want := range []string{"HTTP/1.1 201 Created\r\n", "20"} {
		out, err := exec.Command("timeout", "60", "sh", "-c", replace.Replace(lines[i+1][1])).Output()
		if err != nil || !strings.HasPrefix(string(out), want) {
			t.Errorf("%s: %q, %v, want %q", lines[i+1][1], out, err, want)
		}
	}
}
