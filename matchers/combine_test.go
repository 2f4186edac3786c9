package matchers

import "testing"

// What a program does with its slice of matchers later changes no matcher made of them.
func TestCombinedKeepsItsMatchers(t *testing.T) {
	for name, combine := range map[string]func(...Matcher) Matcher{"All": All, "AnyOf": AnyOf} {
		all := []Matcher{Any()}
		m := combine(all...)
		all[0] = nil
		if got := m.Match(Hello{}); got != Yes {
			t.Errorf("%s: %v, want Yes", name, got)
		}
	}
}
