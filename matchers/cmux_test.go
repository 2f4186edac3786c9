package matchers_test

import (
	"errors"
	"io"
	"regexp"
	"strings"
	"testing"

	"github.com/portluck/portluck/matchers"
)

// strict is a reader that fails the test if it is read with an empty buffer, or after an error.
type strict struct {
	t      *testing.T
	r      io.Reader
	read   int
	failed bool
}

func (s *strict) Read(p []byte) (int, error) {
	if len(p) == 0 || s.failed {
		s.t.Errorf("Read of %d bytes after %d, and an error: %t", len(p), s.read, s.failed)
		return 0, io.EOF
	}
	n, err := s.r.Read(p)
	s.read, s.failed = s.read+n, err != nil
	return n, err
}

// endless returns x without end.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

// Cmux reads until the matcher has decided, up to the end of the stream or Window.
func TestCmuxReads(t *testing.T) {
	never := matchers.MatcherFunc(func(h matchers.Hello) matchers.Verdict { return matchers.Need(len(h.Bytes) + 1) })
	long := strings.Repeat("x", 2000)
	tests := []struct {
		name string
		m    matchers.Matcher
		r    io.Reader
		want bool
		read int
	}{
		{"yes", matchers.Prefix("xx"), iotest{endless{}}, true, 2},
		{"no", matchers.Prefix("xy"), iotest{endless{}}, false, 2},
		{"at once", matchers.Any(), iotest{endless{}}, true, 0},
		{"long", matchers.Prefix(long), iotest{endless{}}, true, len(long)},
		{"the end", matchers.Prefix(long), strings.NewReader("xx"), false, 2},
		{"undecided at the end", never, strings.NewReader("xx"), false, 2},
		{"undecided for ever", never, endless{}, false, matchers.Window},
		{"undecided for ever, by bytes", never, iotest{endless{}}, false, matchers.Window},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := &strict{t: t, r: tt.r}
			if got := matchers.Cmux(tt.m)(r); got != tt.want || r.read != tt.read {
				t.Errorf("%t after %d bytes, want %t after %d", got, r.read, tt.want, tt.read)
			}
		})
	}
}

// A cmux matcher that still wants more at Window does not match. One that has all it wants does.
func TestFromCmuxWindow(t *testing.T) {
	wants := func(n int) matchers.Matcher {
		return matchers.FromCmux(func(r io.Reader) bool {
			_, err := io.ReadFull(r, make([]byte, n))
			return err == nil
		})
	}
	window := strings.Repeat("x", matchers.Window)
	verdicts(t, wants(matchers.Window), map[string]string{window[1:]: "more", window: "yes"})
	verdicts(t, wants(matchers.Window+1), map[string]string{window[1:]: "more", window: "no"})
	// It reads everything that is there, and nothing beyond.
	verdicts(t, matchers.FromCmux(func(r io.Reader) bool { return errors.Is(readAll(r, 2), io.ErrUnexpectedEOF) }),
		map[string]string{"xx": "no", "x": "yes"})
}

func readAll(r io.Reader, n int) error {
	_, err := io.ReadFull(r, make([]byte, n))
	return err
}

// The default limit is TextWindow, and the highest is Window.
func TestRegexpLimit(t *testing.T) {
	window := strings.Repeat("x", matchers.Window)
	re := regexp.MustCompile(`\A(ab|x+y)`)
	for limit, at := range map[int]int{0: matchers.TextWindow, -1: matchers.TextWindow, 10: 10, 1 << 30: matchers.Window} {
		verdicts(t, matchers.Regexp(re, limit), map[string]string{"": "more", "ab": "yes", window[:at-1]: "more", window[:at]: "no"})
	}
	if got := match(matchers.Regexp(re, 10), "a").Needed(); got != 2 {
		t.Errorf("after a byte %d are needed, want 2", got)
	}
	verdicts(t, matchers.Regexp(regexp.MustCompile(`\Aab\b`), 3), map[string]string{"ab": "more", "ab.": "yes", "abc": "no"})
	verdicts(t, matchers.Regexp(regexp.MustCompile(`\Aa(b\B)+`), 3), map[string]string{"ab": "more", "abc": "yes", "ab.": "no"})
	verdicts(t, matchers.Regexp(regexp.MustCompile(`(?m)\Aab$`), 3), map[string]string{"ab": "more", "ab\n": "yes", "abc": "no"})
}
