package need

import (
	"strings"
	"testing"
)

// fake records how a test ends.
type fake struct{ ended string }

func (f *fake) Skip(args ...any)  { f.ended = "skip: " + args[0].(string) }
func (f *fake) Fatal(args ...any) { f.ended = "fatal: " + args[0].(string) }

func TestProgram(t *testing.T) {
	tests := []struct {
		name, env string
		need      func(t T) string
		want      string
	}{
		{"there", "1", func(t T) string { return Program(t, "go") }, ""},
		{"absent", "", func(t T) string { return Program(t, "no-such-program") }, "skip: no-such-program is not installed"},
		{"absent in CI", "1", func(t T) string { return Program(t, "no-such-program") }, "fatal: no-such-program is not installed, and TEST_PROGRAMS is set"},
		{"module", "", func(t T) string { return Python(t, "no_such_module") }, "skip: python3-no_such_module is not installed"},
		{"module in CI", "1", func(t T) string { return Python(t, "no_such_module") }, "fatal: python3-no_such_module is not installed, and TEST_PROGRAMS is set"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv(programsEnv, tt.env)
			var f fake
			path := tt.need(&f)
			if f.ended != tt.want {
				t.Errorf("it ended with %q, want %q", f.ended, tt.want)
			}
			if tt.want == "" && !strings.Contains(path, "go") {
				t.Errorf("Program() = %q, want the path of go", path)
			}
		})
	}
}
