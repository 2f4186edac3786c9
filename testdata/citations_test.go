package testdata

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// cited matches a citation of TRAPS.md in a comment: a part, and perhaps rows of it.
var cited = regexp.MustCompile(`TRAPS part (\d+)(?:, rows? (\d+)(?: and (\d+))?)?`)

// Every row that a test cites is in TRAPS.md, and every part is in SEEDS.md.
func TestCitations(t *testing.T) {
	traps, seeds := read(t, "TRAPS.md"), read(t, "SEEDS.md")
	rows := map[string]bool{}
	for part := range strings.SplitSeq(traps, "\n## Part ") {
		number, _, _ := strings.Cut(part, ".")
		rows[number] = true
		for _, row := range regexp.MustCompile(`(?m)^\| (\d+) \|`).FindAllStringSubmatch(part, -1) {
			rows[number+"/"+row[1]] = true
		}
	}
	found := 0
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") {
			return err
		}
		b, err := os.ReadFile(path)
		for _, m := range cited.FindAllStringSubmatch(string(b), -1) {
			found++
			for _, row := range m[2:] {
				if row != "" && !rows[m[1]+"/"+row] || !rows[m[1]] {
					t.Errorf("%s cites %q", path, m[0])
				}
			}
		}
		for _, m := range regexp.MustCompile(`SEEDS\.md,? (?:part )?(B\d)`).FindAllStringSubmatch(string(b), -1) {
			if found++; !strings.Contains(seeds, fmt.Sprintf("\n## Part %s. ", m[1])) {
				t.Errorf("%s cites %q", path, m[0])
			}
		}
		return err
	})
	if err != nil || found < 20 {
		t.Errorf("%d citations, %v", found, err)
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
