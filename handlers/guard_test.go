package handlers

import (
	"errors"
	"strings"
	"testing"
)

func TestGuard(t *testing.T) {
	for _, tt := range []struct {
		name string
		f    func()
		want string // of the error; none if empty
	}{
		{"returns", func() {}, ""},
		{"panics with text", func() { panic("secret of a client") }, "callback panicked: string"},
		{"panics with an error", func() { panic(errors.New("secret")) }, "callback panicked: *errors.errorString"},
		{"panics with nil", func() { panic(nil) }, "callback panicked: panic called with nil argument"},
		{"divides by zero", func() { n := 0; n /= n }, "callback panicked: runtime error: integer divide by zero"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := Guard(tt.f)
			if tt.want == "" {
				if err != nil {
					t.Errorf("Guard() = %v, want nil", err)
				}
				return
			}
			p, ok := errors.AsType[*PanicError](err)
			if !ok || !errors.Is(err, ErrPanic) || !strings.Contains(string(p.Stack), "guard_test.go") {
				t.Fatalf("Guard() = %#v, want a *PanicError with its stack", err)
			}
			if got := err.Error(); got != tt.want {
				t.Errorf("Error() = %q, want %q", got, tt.want)
			}
		})
	}
}
