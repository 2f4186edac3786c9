package portluck

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/portluck/portluck/"

// TestImports checks the picture in DESIGN.md: arrows only point down, and the heavy dependencies
// stay out of the library.
func TestImports(t *testing.T) {
	t.Parallel()
	out, err := exec.Command("go", "list", "-f", "{{.ImportPath}} {{join .Imports \" \"}}", module+"...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	internals := []string{
		"handlers/internal/grace", "handlers/internal/guarded", "handlers/internal/linger", "handlers/internal/parts",
		"handlers/internal/setting", "handlers/internal/tasks",
	}
	may := map[string][]string{ // package -> prefixes of what it may import of the module
		"matchers":             nil,
		"matchers/matchertest": {"matchers"},
		"handlers":             {"handlers/internal/grace"},
		"handlers/internal":    nil,
		"handlers/loop":        append([]string{"handlers"}, internals...),
		"handlers/raw":         {"handlers"},
		"handlers/tcp":         {"handlers", "handlers/internal/grace", "handlers/internal/linger", "handlers/loop"},
		"handlers/mesh": {
			"handlers", "handlers/internal/grace", "handlers/internal/guarded", "handlers/internal/setting", "handlers/internal/tasks", "handlers/mesh/internal/mdns",
		},
		"handlers/mesh/internal/mdns": nil,
		"portluck/hub":                {"handlers", "handlers/loop"},
		"portluck": {
			"handlers", "handlers/httpd", "handlers/loop", "handlers/raw", "handlers/tlsd", "handlers/websocket", "matchers",
			"portluck/hub",
		},
	}
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		name := strings.TrimPrefix(fields[0], module)
		allowed, listed := may[name]
		if strings.HasPrefix(name, "handlers/") && !listed {
			allowed, listed = append([]string{"handlers"}, internals...), true
		}
		for _, imported := range fields[1:] {
			checkThirdParty(t, name, imported)
			path, ours := strings.CutPrefix(imported, module)
			if ours && listed && !slices.Contains(allowed, path) {
				t.Errorf("%s imports %s", name, path)
			}
			if name == "handlers" && strings.Contains(imported, ".") && !ours {
				t.Errorf("handlers imports %s: it needs the standard library only", imported)
			}
		}
	}
}

// checkThirdParty checks that only the listed packages import modules of others.
func checkThirdParty(t *testing.T, name, imported string) {
	t.Helper()
	may := map[string]string{ // module -> prefix of the packages that may import it
		"github.com/soheilhy/cmux":   "portluck matchers",
		"github.com/gobwas/ws":       "handlers/websocket cmd",
		"github.com/rs/zerolog":      "portluck cmd",
		"github.com/spf13/":          "cmd",
		"github.com/chromedp/":       "",
		"github.com/rogpeppe/":       "",
		"golang.org/x/sys":           "portluck handlers/loop handlers/tcp handlers/tlsd handlers/udp cmd",
		"golang.org/x/net":           "handlers/udp handlers/mesh/internal/mdns",
		"go.etcd.io/bbolt":           "handlers/alldata",
		"github.com/mattn/":          "cmd",
		"github.com/gobwas/httphead": "handlers/websocket",
	}
	if !strings.Contains(strings.Split(imported, "/")[0], ".") || strings.HasPrefix(imported, module) {
		return
	}
	for prefix, packages := range may {
		if !strings.HasPrefix(imported, prefix) {
			continue
		}
		for _, p := range strings.Fields(packages) {
			if name == p || p == "cmd" && strings.HasPrefix(name, "cmd/") {
				return
			}
		}
	}
	t.Errorf("%s imports %s", name, imported)
}

// The library does not depend on what only the commands and the tests need.
func TestImportsAreLight(t *testing.T) {
	t.Parallel()
	out, err := exec.Command("go", "list", "-deps", module+"portluck").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	for _, heavy := range []string{"spf13", "chromedp", "rogpeppe", "x/crypto/ssh", "bbolt", "module/cmd"} {
		if strings.Contains(string(out), heavy) {
			t.Errorf("portluck depends on %s", heavy)
		}
	}
}

// A program that imports portluck downloads few modules, and none that is heavy.
func TestImporterDownloadsLittle(t *testing.T) {
	t.Parallel()
	want := []string{
		"github.com/gobwas/httphead", "github.com/gobwas/ws", "github.com/mattn/go-colorable", "github.com/mattn/go-isatty",
		"github.com/rs/zerolog", "github.com/soheilhy/cmux", "golang.org/x/net", "golang.org/x/sys", "golang.org/x/text",
	}
	tree, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	ours := strings.TrimSuffix(module, "/")
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":  fmt.Sprintf("module importer\n\ngo 1.26.0\n\nrequire %s v0.0.0\n\nreplace %s => %s\n", ours, ours, strconv.Quote(tree)),
		"main.go": fmt.Sprintf("package main\n\nimport %q\n\nfunc main() { _ = (&portluck.Server{}).ListenAndServe() }\n", module+"portluck"),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// The module cache has everything, because the tests of this package need more.
	cmd := exec.Command("go", "mod", "tidy")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOPROXY=off", "GOSUMDB=off", "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go mod tidy: %v\n%s", err, out)
	}
	sum, err := os.ReadFile(filepath.Join(dir, "go.sum"))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range strings.Lines(string(sum)) {
		if f := strings.Fields(line); !strings.HasSuffix(f[1], "/go.mod") { // the code itself
			got = append(got, f[0])
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("an importer downloads %q, want %q", got, want)
	}
}

// DESIGN.md names files and packages that exist.
func TestDesignNamesFiles(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("DESIGN.md")
	if err != nil {
		t.Fatal(err)
	}
	names := regexp.MustCompile("`((?:\\.\\./)*[a-z_/]+\\.go|(?:\\.\\./)*handlers/[a-z]+)`").FindAllStringSubmatch(string(b), -1)
	if len(names) < 20 {
		t.Errorf("DESIGN.md names %d files", len(names))
	}
	for _, m := range names {
		name := m[1]
		if strings.HasPrefix(name, "handlers/") {
			name = "../" + name
		}
		if _, err := os.Stat(name); err != nil {
			t.Error(err)
		}
	}
}
