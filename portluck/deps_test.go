package portluck

import (
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/portluck/portluck/"

// TestImports holds the picture in DESIGN.md: arrows only point down, and the heavy dependencies
// stay out of the library.
func TestImports(t *testing.T) {
	t.Parallel()
	out, err := exec.Command("go", "list", "-f", "{{.ImportPath}} {{join .Imports \" \"}}", module+"...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	may := map[string][]string{ // package -> what it may import of the module, by prefix
		"matchers":             nil,
		"matchers/matchertest": {"matchers"},
		"handlers":             {"handlers/internal/grace"},
		"handlers/internal":    nil,
		"handlers/loop":        {"handlers", "handlers/internal/grace", "handlers/internal/guarded", "handlers/internal/parts", "handlers/internal/tasks"},
		"handlers/raw":         {"handlers"},
		"handlers/tcp":         {"handlers", "handlers/internal/grace", "handlers/loop"},
		"handlers/mesh": {
			"handlers", "handlers/internal/grace", "handlers/internal/guarded", "handlers/internal/tasks", "handlers/mesh/internal/mdns",
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
			allowed, listed = []string{"handlers", "handlers/internal/grace", "handlers/internal/guarded", "handlers/internal/parts", "handlers/internal/tasks"}, true
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

// checkThirdParty holds who may import what from outside.
func checkThirdParty(t *testing.T, name, imported string) {
	t.Helper()
	may := map[string]string{ // module -> package that may import it, by prefix
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

// The library is light: neither the command's nor the tests' dependencies come with it.
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
