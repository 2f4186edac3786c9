package matchertest

import (
	"testing"

	"github.com/portluck/portluck/matchers"
)

// fake is a testing.TB that records whether something was reported.
type fake struct {
	testing.TB
	failed bool
}

func (f *fake) Helper()               {}
func (f *fake) Errorf(string, ...any) { f.failed = true }

func TestCheckFinds(t *testing.T) {
	tests := []struct {
		name string
		bad  bool
		m    matchers.MatcherFunc
	}{
		{"a good one", false, matchers.Prefix("sam").Match},
		{"a panic", true, func(h matchers.Hello) matchers.Verdict { return matchers.Verdict(h.Bytes[0]) }},
		{"a change of mind", true, func(h matchers.Hello) matchers.Verdict {
			if len(h.Bytes) == 3 {
				return matchers.Yes
			}
			return matchers.No
		}},
		{"a need for what is there", true, func(h matchers.Hello) matchers.Verdict { return matchers.Need(len(h.Bytes)) }},
		{"a need that was not one", true, func(h matchers.Hello) matchers.Verdict {
			if len(h.Bytes) < 2 && !h.EOF {
				return matchers.Need(100)
			}
			return matchers.No
		}},
		{"no decision", true, func(h matchers.Hello) matchers.Verdict { return matchers.Need(len(h.Bytes) + 1) }},
		{"changed bytes", true, func(h matchers.Hello) matchers.Verdict {
			if len(h.Bytes) > 0 {
				h.Bytes[0]++
			}
			return matchers.No
		}},
		{"an allocation", true, func(h matchers.Hello) matchers.Verdict {
			sink = append([]byte(nil), h.Bytes...)
			return matchers.No
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := &fake{TB: t}
			Check(f, tt.m, []byte("sample"))
			if f.failed != tt.bad {
				t.Errorf("failed: %t, want %t", f.failed, tt.bad)
			}
		})
	}
}

var sink []byte

func ExampleCheck() {
	TestMine := func(t *testing.T) {
		Check(t, matchers.Prefix("HELLO "), []byte("HELLO me\n"), []byte("HELP\n"))
	}
	_ = TestMine
	// Output:
}
