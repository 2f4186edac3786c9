package need

import (
	"runtime"
	"strings"
	"testing"
)

// fake records how a test ends.
type fake struct{ ended string }

func (f *fake) Skip(args ...any)  { f.end("skip: ", args) }
func (f *fake) Fatal(args ...any) { f.end("fatal: ", args) }

func (f *fake) end(how string, args []any) {
	f.ended = how + args[0].(string)
	runtime.Goexit()
}

func TestProgram(t *testing.T) {
	tests := []struct {
		name, env string
		need      func(t T) string
		want      string
	}{
		{"there", "1", func(t T) string { return Program(t, "go") }, ""},
		{"absent", "", func(t T) string { return Program(t, "no-such-program") }, "skip: no-such-program is not installed"},
		{"absent in CI", "1", func(t T) string { return Program(t, "no-such-program") }, "fatal: no-such-program is not installed, and TEST_PROGRAMS is set"},
		{"module of Node", "", func(t T) string { p, _ := Node(t, "no-such-module"); return p }, "skip: node's no-such-module is not installed"},
		{"module", "", func(t T) string { return Python(t, "no_such_module") }, "skip: python3-no_such_module is not installed"},
		{"namespaces", "", Namespaces, "skip: makes network namespaces: set TEST_PROGRAMS=1, as root, to run it"},
		{"module in CI", "1", func(t T) string { return Python(t, "no_such_module") }, "fatal: python3-no_such_module is not installed, and TEST_PROGRAMS is set"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv(programsEnv, tt.env)
			var f fake
			var path string
			done := make(chan struct{})
			go func() { // Fatal and Skip end it
				defer close(done)
				path = tt.need(&f)
			}()
			<-done
			if f.ended != tt.want {
				t.Errorf("it ended with %q, want %q", f.ended, tt.want)
			}
			if tt.want == "" && !strings.Contains(path, "go") {
				t.Errorf("Program() = %q, want the path of go", path)
			}
		})
	}
}
