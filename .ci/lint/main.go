// Command lint checks what no other linter does: the width of comments, that exported names have a
// doc comment, and the size of functions. It prints the sizes and what is wrong, and fails if
// anything is.
//
//	go run ./.ci/lint
package main

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"
)

const (
	maxColumns = 100 // of a line that is a comment or ends in one, with a tab as one column
	maxMedian  = 8   // lines of functions
	maxLines   = 60  // of a function
	maxNesting = 3   // of blocks in a function
)

func main() {
	problems, err := lint(os.Stdout, ".")
	if err != nil {
		fmt.Fprintln(os.Stderr, "lint:", err)
		os.Exit(2)
	}
	for _, p := range problems {
		fmt.Println(p)
	}
	if len(problems) > 0 {
		os.Exit(1)
	}
}

// metrics has the sizes of the functions that were seen.
type metrics struct {
	lines   []int
	nesting [maxNesting + 1]int // how many functions nest so deep; the last includes deeper ones
}

// lint reads all Go files below root, prints the metrics to w, and returns what is wrong.
func lint(w io.Writer, root string) (problems []string, err error) {
	var m metrics
	err = filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.IsDir() && path != root && (e.Name() == "node_modules" || e.Name() == ".git"):
			return fs.SkipDir
		case e.IsDir() || filepath.Ext(path) != ".go":
			return nil
		}
		src, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		found, err := lintFile(path, src, &m)
		problems = append(problems, found...)
		return err
	})
	if err != nil {
		return nil, err
	}
	slices.Sort(m.lines)
	median, p90, most := m.percentile(50), m.percentile(90), m.percentile(100)
	fmt.Fprintf(w, "%d functions: median %d lines, 90th percentile %d, longest %d; nesting 0 to %d: %v\n",
		len(m.lines), median, p90, most, maxNesting, m.nesting)
	if median > maxMedian {
		problems = append(problems, fmt.Sprintf("the median of all functions is %d lines, want at most %d", median, maxMedian))
	}
	return problems, nil
}

func (m *metrics) percentile(p int) int {
	if len(m.lines) == 0 {
		return 0
	}
	return m.lines[(len(m.lines)-1)*p/100]
}

// lintFile returns what is wrong in a file. It adds the file's functions to m unless it is a test.
func lintFile(path string, src []byte, m *metrics) (problems []string, err error) {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, path, src, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	add := func(pos token.Pos, format string, args ...any) {
		at := fset.Position(pos)
		problems = append(problems, fmt.Sprintf("%s:%d: %s", path, at.Line, fmt.Sprintf(format, args...)))
	}
	checkWidth(file, fset, src, add)
	if strings.HasSuffix(path, "_test.go") {
		return problems, nil
	}
	checkDocs(file, add)
	for _, d := range file.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok || f.Body == nil {
			continue
		}
		lines := fset.Position(f.End()).Line - fset.Position(f.Pos()).Line + 1
		deep := nesting(f.Body)
		m.lines = append(m.lines, lines)
		m.nesting[min(deep, maxNesting)]++
		if lines > maxLines {
			add(f.Pos(), "%s has %d lines, want at most %d", f.Name.Name, lines, maxLines)
		}
		if deep > maxNesting {
			add(f.Pos(), "%s nests %d deep, want at most %d", f.Name.Name, deep, maxNesting)
		}
	}
	return problems, nil
}

// checkWidth adds the lines that are too wide and are a comment, a part of one, or end in one. A
// line of a comment with one long word, such as an address, cannot be broken.
func checkWidth(file *ast.File, fset *token.FileSet, src []byte, add func(token.Pos, string, ...any)) {
	lines := strings.Split(string(src), "\n")
	for _, group := range file.Comments {
		if strings.HasPrefix(group.Text(), "Output:") {
			continue // what an example prints
		}
		first, last := fset.Position(group.Pos()), fset.Position(group.End())
		for n := first.Line; n <= last.Line; n++ {
			line := strings.TrimSuffix(lines[n-1], "\r")
			wide, text := utf8.RuneCountInString(line), strings.TrimLeft(line, " \t")
			isBehind := n == first.Line && len(line)-len(text) != first.Column-1
			if isBehind {
				text = line[first.Column-1:]
			}
			switch at := fset.File(group.Pos()).LineStart(n); {
			case wide <= maxColumns, strings.HasPrefix(text, "//go:"), strings.HasPrefix(text, "//nolint:"):
			case !isBehind && len(strings.Fields(text)) > 2:
				add(at, "a comment of %d columns, want at most %d", wide, maxColumns)
			case isBehind && (n < last.Line || last.Column > len(line)):
				add(at, "%d columns with the comment behind the code, want at most %d", wide, maxColumns)
			}
		}
	}
}

// checkDocs adds the exported names of declarations and methods that have no doc comment.
func checkDocs(file *ast.File, add func(token.Pos, string, ...any)) {
	for _, d := range file.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Name.IsExported() && d.Doc == nil && receiverExported(d) {
				add(d.Pos(), "%s has no doc comment", d.Name.Name)
			}
		case *ast.GenDecl:
			for _, s := range d.Specs {
				checkSpec(d, s, add)
			}
		}
	}
}

func receiverExported(f *ast.FuncDecl) bool {
	if f.Recv == nil {
		return true
	}
	switch t := f.Recv.List[0].Type.(type) {
	case *ast.StarExpr:
		return isExported(t.X)
	default:
		return isExported(t)
	}
}

// isExported reports whether a type, which may have parameters, is exported.
func isExported(t ast.Expr) bool {
	switch t := t.(type) {
	case *ast.IndexExpr:
		return isExported(t.X)
	case *ast.IndexListExpr:
		return isExported(t.X)
	case *ast.Ident:
		return t.IsExported()
	}
	return false
}

func checkSpec(d *ast.GenDecl, s ast.Spec, add func(token.Pos, string, ...any)) {
	switch s := s.(type) {
	case *ast.TypeSpec:
		if s.Name.IsExported() && cmp.Or(d.Doc, s.Doc, s.Comment) == nil {
			add(s.Pos(), "%s has no doc comment", s.Name.Name)
		}
	case *ast.ValueSpec:
		for _, name := range s.Names {
			if name.IsExported() && cmp.Or(d.Doc, s.Doc, s.Comment) == nil {
				add(name.Pos(), "%s has no doc comment", name.Name)
			}
		}
	}
}

// nesting returns how deep the blocks in body, those of func literals too, are nested.
func nesting(body *ast.BlockStmt) (deepest int) {
	var open []bool // for each node that Inspect is in, whether it is a block
	depth := -1     // the body itself does not count
	ast.Inspect(body, func(n ast.Node) bool {
		if n == nil {
			if open[len(open)-1] {
				depth--
			}
			open = open[:len(open)-1]
			return true
		}
		_, block := n.(*ast.BlockStmt)
		if open = append(open, block); block {
			depth++
			deepest = max(deepest, depth)
		}
		return true
	})
	return deepest
}
