package chat

import (
	"strings"
	"testing"
)

// FuzzParse checks that plain returns the text that parse was given, except for the space after the
// tag, and that parse returns a line that plain has written.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"", "hello", "[tcp 1.2.3.4:5] hi", "[wss [::1]:4711] over there", "[put key1]{}", "[a b]  c\nd", "[A b] c", "[a [b]:1", "[a \xff] \xfe"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		l := parse(s)
		if l.From == "" && l.Text != s {
			t.Errorf("parse(%q) = %+v", s, l)
		}
		if got := l.plain(); got != s && (l.From == "" || strings.Replace(got, "] "+l.Text, "]"+l.Text, 1) != s) {
			t.Errorf("parse(%q) = %+v, which is %q", s, l, got)
		}
		if again := parse(l.plain()); again != l {
			t.Errorf("%+v is parsed as %+v", l, again)
		}
		if clean := Clean(s); Clean(clean) != clean || strings.ContainsAny(clean, "\r\n\x1b") {
			t.Errorf("Clean(%q) = %q", s, clean)
		}
	})
}
