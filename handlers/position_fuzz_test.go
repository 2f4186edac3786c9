package handlers

import "testing"

// Clients choose a Last-Event-ID and a ?since=. A string that is accepted as a position can be
// formatted and parsed again, with the same result.
func FuzzParsePosition(f *testing.F) {
	for _, s := range []string{"", "-", "0-0", "1f-12", "1F-012", "ffffffffffffffff-18446744073709551615", "10000000000000000-1", "1-99999999999999999999", "+1-1", "1--1", "1-1 "} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ParsePosition(s)
		if err != nil {
			return
		}
		if again, err := ParsePosition(p.String()); err != nil || again != p {
			t.Errorf("ParsePosition(%q) = %v; again %v, %v", s, p, again, err)
		}
	})
}
