package httpd

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/portluck/portluck/handlers"
)

// put feeds p to s.
func (s *splitter) put(p []byte, deliver func(msg []byte) error) error {
	s.in.Put(p)
	return s.feed(false, deliver)
}

// split feeds parts to a splitter, and returns copies of the messages.
func split(s splitter, parts ...string) (all []string, err error) {
	defer s.release()
	deliver := func(msg []byte) error {
		all = append(all, string(msg))
		return nil
	}
	for _, p := range parts {
		if err := s.put([]byte(p), deliver); err != nil {
			return all, err
		}
	}
	return all, s.feed(true, deliver)
}

func TestSplitter(t *testing.T) {
	const none = -1
	tests := []struct {
		name  string
		limit int
		tail  bool
		parts []string
		want  []string
		err   error
	}{
		{"one line is one message", none, false, []string{"a\n"}, []string{"a"}, nil},
		{"empty lines count", none, false, []string{"\na\n\n"}, []string{"", "a", ""}, nil},
		{"the last one needs no line feed", none, false, []string{"a\nb"}, []string{"a", "b"}, nil},
		{"carriage returns stay", none, false, []string{"a\r\nb\r"}, []string{"a\r", "b\r"}, nil},
		{"a line in parts", none, false, []string{"a", "", "b", "c\nd"}, []string{"abc", "d"}, nil},
		{"a line feed alone", none, false, []string{"a", "\n", "\n"}, []string{"a", ""}, nil},
		{"as long as allowed", 3, false, []string{"abc\n", "ab", "c"}, []string{"abc", "abc"}, nil},
		{"nothing is allowed", 0, false, []string{"\n", "\n"}, []string{"", ""}, nil},
		{"more than nothing", 0, false, []string{"\nx", "\n"}, []string{""}, handlers.ErrTooLong},
		{"a tail of nothing", 0, true, []string{"x", "y\nz"}, []string{""}, nil},
		{"too long", 3, false, []string{"ab\nabcd\n"}, []string{"ab"}, handlers.ErrTooLong},
		{"too long in parts", 3, false, []string{"ab", "cd"}, nil, handlers.ErrTooLong},
		{"too long at the end of a line", 3, false, []string{"ab", "cd\n"}, nil, handlers.ErrTooLong},
		{"tail", 5, true, []string{"0123456789abc\n"}, []string{"89abc"}, nil},
		{"tail in parts", 5, true, []string{"0123456789", "ab", "c\n", "xy"}, []string{"89abc", "xy"}, nil},
		{"tail of many parts", 2, true, strings.Split("0123456789", ""), []string{"89"}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := split(splitter{limit: tt.limit, tail: tt.tail}, tt.parts...)
			if !slices.Equal(got, tt.want) || !errors.Is(err, tt.err) {
				t.Errorf("split(%q) = %q, %v, want %q, %v", tt.parts, got, err, tt.want, tt.err)
			}
		})
	}
}

// A splitter keeps a bounded part of a long line, also with Tail.
func TestSplitterKeepsLittle(t *testing.T) {
	var budget handlers.Budget
	s := splitter{limit: 64 << 10, tail: true}
	s.in.Budget = &budget
	part := make([]byte, 300)
	for range 10000 {
		if err := s.put(part, nil); err != nil {
			t.Fatal(err)
		}
		if got := budget.Held(); got == 0 || got > 3*int64(s.limit) {
			t.Fatalf("keeps %d bytes", got)
		}
	}
	s.release()
	if got := budget.Held(); got != 0 {
		t.Errorf("%d bytes are left in the budget", got)
	}
}

// A line that is too long is refused before its end has come.
func TestSplitterRefusesAtOnce(t *testing.T) {
	for limit := range 3 {
		s := splitter{limit: limit}
		if err := s.put([]byte("xxx")[:limit], nil); err != nil {
			t.Errorf("%d bytes of %d: %v", limit, limit, err)
		}
		if err := s.put([]byte("x"), nil); !errors.Is(err, handlers.ErrTooLong) {
			t.Errorf("%d bytes of %d: %v", limit+1, limit, err)
		}
		s.release()
	}
}

func TestSplitterAllocatesNothing(t *testing.T) {
	body := []byte("one\ntwo\nthree\n")
	s := splitter{limit: 100}
	n := testing.AllocsPerRun(100, func() {
		if err := s.put(body, func([]byte) error { return nil }); err != nil {
			t.Error(err)
		}
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzSplitter(f *testing.F) {
	f.Add([]byte("a\nb\n\nc"), uint8(3), false)
	f.Add([]byte("0123456789abc\n"), uint8(1), true)
	f.Add([]byte("a\r\n\n0123456789012345678901234567890\nx"), uint8(0), true)
	f.Fuzz(func(t *testing.T, body []byte, size uint8, tail bool) {
		var parts []string
		for p := body; len(p) > 0; {
			n := min(int(size)+1, len(p))
			parts = append(parts, string(p[:n]))
			p = p[n:]
		}
		s := splitter{limit: 8, tail: tail}
		want, wantErr := split(s, string(body))
		got, err := split(s, parts...)
		if !slices.Equal(got, want) || (err == nil) != (wantErr == nil) {
			t.Errorf("by %d: %q, %v, want %q, %v", size, got, err, want, wantErr)
		}
		if err == nil && !tail {
			if all := strings.Join(got, "\n"); strings.TrimSuffix(string(body), "\n") != all {
				t.Errorf("%q became %q", body, got)
			}
		}
	})
}
