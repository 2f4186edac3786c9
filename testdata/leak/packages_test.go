package leak

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	starts = regexp.MustCompile(`(?m)^\s*go [a-z]|\.Go\(`)
	checks = regexp.MustCompile(`\bleak\.(Main|Checked)\(m\)`)
)

// Each package that starts goroutines has a TestMain that fails if one is left.
func TestPackagesUseMain(t *testing.T) {
	starting, checked := map[string]bool{}, map[string]bool{}
	err := filepath.WalkDir("../..", func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.IsDir() && (e.Name() == "testdata" || strings.HasPrefix(e.Name(), ".") && e.Name() != ".."):
			if path == "../.." {
				return nil
			}
			return fs.SkipDir
		case filepath.Ext(path) != ".go":
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if strings.HasSuffix(path, "_test.go") {
			checked[filepath.Dir(path)] = checked[filepath.Dir(path)] || checks.Match(b)
		} else if starts.Match(b) {
			starting[filepath.Dir(path)] = true
		}
		return nil
	})
	if err != nil || len(starting) < 10 {
		t.Fatalf("%d packages start goroutines, %v", len(starting), err)
	}
	for dir := range starting {
		if !checked[dir] {
			t.Errorf("%s starts goroutines, and has no TestMain with leak.Main or leak.Checked", dir)
		}
	}
}
