package main

import (
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/portluck/portluck/testdata/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

func TestLint(t *testing.T) {
	wide := "// " + strings.Repeat("word ", 19) + "more" // 102 columns
	long := "package p\n\nfunc f() {\n" + strings.Repeat("\t_ = 0\n", 59) + "}\n"
	short := "func g() {}\n\n"
	deep := func(last string) string {
		return "package p\n\nfunc f() {\n\tfor {\n\t\tif true {\n\t\t\tswitch {\n\t\t\tcase true:\n" + last + "\t\t\t}\n\t\t}\n\t}\n}\n"
	}
	for _, tt := range []struct {
		name, file, src string
		want            []string
	}{
		{"nothing", "a.go", "package p\n", nil},
		{"a wide comment", "a.go", "package p\n\n" + wide + "\nvar x int\n", []string{"a.go:3: a comment of 102 columns, want at most 100"}},
		{"as wide as may be", "a.go", "package p\n\n" + wide[:100] + "\nvar x int\n", nil},
		{"characters count, not bytes", "a.go", "package p\n\n// " + strings.Repeat("é ", 48) + "\nvar x int\n", nil},
		{"a wide comment in a func", "a_test.go", "package p\n\nfunc f() {\n\t" + wide + "\n}\n", []string{"a_test.go:4: a comment of 103 columns, want at most 100"}},
		{"behind code", "a.go", "package p\n\nvar x int " + wide + "\n", []string{"a.go:3: 112 columns with the comment behind the code, want at most 100"}},
		{"a word behind wide code", "a_test.go", "package p\n\nvar x = \"" + wide + "\" // word\n", []string{"a_test.go:3: 120 columns with the comment behind the code, want at most 100"}},
		{"behind code with CR LF", "a.go", "package p\r\n\r\nvar x int " + wide + "\r\n", []string{"a.go:3: 112 columns with the comment behind the code, want at most 100"}},
		{"as wide as may be behind code", "a.go", "package p\n\nvar x int " + wide[:90] + "\n", nil},
		{"in the middle of code", "a.go", "package p\n\nvar x /* int */ = \"" + wide + "\"\n", nil},
		{"for a linter, behind code", "a.go", "package p\n\nvar x int //nolint:unused " + wide + "\n", nil},
		{"between stars", "a.go", "package p\n\n/*\n" + wide[3:] + " x\n*/\nvar x int\n", []string{"a.go:4: a comment of 101 columns, want at most 100"}},
		{"a long word", "a.go", "package p\n\n// https://" + strings.Repeat("x", 100) + "\nvar x int\n", nil},
		{"for the compiler", "a.go", "package p\n\n//go:generate " + wide[3:] + "\nvar x int\n", nil},
		{"what an example prints", "a_test.go", "package p\n\nfunc ExampleF() {\n\t// Output:\n\t" + wide + "\n}\n", nil},
		{"a func", "a.go", "package p\n\nfunc F() {}\n", []string{"a.go:3: F has no doc comment"}},
		{"a func with one", "a.go", "package p\n\n// F does nothing.\nfunc F() {}\n", nil},
		{"a func of a test", "a_test.go", "package p\n\nfunc F() {}\n", nil},
		{"a method", "a.go", "package p\n\n// T is a type.\ntype T[P any] struct{}\n\nfunc (t *T[P]) M() {}\n", []string{"a.go:6: M has no doc comment"}},
		{"a method of a type that is not exported", "a.go", "package p\n\ntype t[P any] struct{}\n\nfunc (t *t[P]) M() {}\n", nil},
		{"a type", "a.go", "package p\n\ntype T struct{}\n", []string{"a.go:3: T has no doc comment"}},
		{"constants", "a.go", "package p\n\nconst (\n\tA = 1\n\tB = 2 // is two\n\tc = 3\n)\n", []string{"a.go:4: A has no doc comment"}},
		{"constants with one comment", "a.go", "package p\n\n// Both are numbers.\nconst (\n\tA = 1\n\tB = 2\n)\n", nil},
		{"a long func", "a.go", long, []string{"a.go:3: f has 61 lines, want at most 60", "the median of all functions is 61 lines, want at most 8"}},
		{"a long func of a test", "a_test.go", long, nil},
		{"three deep", "a.go", strings.Replace(deep("\t\t\t\treturn\n"), "func f() {\n", short+"func f() {\n", 1), nil},
		{"four deep", "a.go", strings.Replace(deep("\t\t\t\tfunc() {}()\n"), "func f() {\n", short+"func f() {\n", 1), []string{"a.go:5: f nests 4 deep, want at most 3"}},
		{"else if is no deeper", "a.go", "package p\n\nfunc f() {\n\tif a {\n\t} else if b {\n\t} else if c {\n\t} else {\n\t}\n}\n\nfunc g() {}\n", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, tt.file)
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(tt.src), 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := lint(io.Discard, dir)
			for i := range got {
				got[i] = strings.TrimPrefix(got[i], dir+"/")
			}
			if err != nil || !slices.Equal(got, tt.want) {
				t.Errorf("lint() = %q, %v, want %q", got, err, tt.want)
			}
		})
	}
}

func TestMetrics(t *testing.T) {
	dir := t.TempDir()
	src := "package p\n\nfunc a() {}\n\nfunc b() {\n\tif true {\n\t}\n}\n\nfunc c() {\n\tfor {\n\t\tif true {\n\t\t}\n\t}\n}\n"
	if err := os.WriteFile(filepath.Join(dir, "a.go"), []byte(src), 0o600); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if _, err := lint(&out, dir); err != nil {
		t.Fatal(err)
	}
	if got, want := out.String(), "3 functions: median 4 lines, 90th percentile 4, longest 6; nesting 0 to 3: [1 1 1 0]\n"; got != want {
		t.Errorf("it prints %q, want %q", got, want)
	}
}

func TestLintOfWhatIsNoGo(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a.go"), []byte("pakage p\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := lint(io.Discard, dir); err == nil {
		t.Error("lint() of a file that is no Go: no error")
	}
}
