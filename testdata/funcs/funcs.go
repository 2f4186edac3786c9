// Package funcs lists the func fields that a program can set in the types of a package, for tests
// that call each of them.
package funcs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"slices"
	"strings"
	"testing"
)

// Covered fails unless names, each as Type.Field, are all the exported func fields of exported
// structs in the package in whose directory the test runs.
func Covered(t testing.TB, names ...string) {
	t.Helper()
	CoveredIn(t, []string{"."}, names...)
}

// CoveredIn is Covered for the packages in dirs together.
func CoveredIn(t testing.TB, dirs []string, names ...string) {
	t.Helper()
	var all []string
	for _, dir := range dirs {
		found, err := fields(dir)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, found...)
	}
	for _, f := range all {
		if !slices.Contains(names, f) {
			t.Errorf("%s is in no case", f)
		}
	}
	for _, n := range names {
		if !slices.Contains(all, n) {
			t.Errorf("there is no %s", n)
		}
	}
}

func fields(dir string) ([]string, error) {
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var all []string
	for _, file := range files {
		if !strings.HasSuffix(file.Name(), ".go") || strings.HasSuffix(file.Name(), "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), dir+"/"+file.Name(), nil, 0)
		if err != nil {
			return nil, err
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			if t, ok := n.(*ast.TypeSpec); ok && t.Name.IsExported() {
				all = append(all, of(t)...)
			}
			return true
		})
	}
	return all, nil
}

// of returns the fields of one type.
func of(t *ast.TypeSpec) (all []string) {
	s, ok := t.Type.(*ast.StructType)
	if !ok {
		return nil
	}
	for _, f := range s.Fields.List {
		if _, ok := f.Type.(*ast.FuncType); !ok {
			continue
		}
		for _, name := range f.Names {
			if name.IsExported() {
				all = append(all, t.Name.Name+"."+name.Name)
			}
		}
	}
	return all
}
