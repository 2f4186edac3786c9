package matchers_test

import (
	"strings"
	"testing"

	"github.com/portluck/portluck/matchers"
)

// Changing a slice of matchers afterwards does not change a matcher that was made of it.
func TestCombinedKeepsItsMatchers(t *testing.T) {
	for name, combine := range map[string]func(...matchers.Matcher) matchers.Matcher{"All": matchers.All, "AnyOf": matchers.AnyOf} {
		all := []matchers.Matcher{matchers.Any()}
		m := combine(all...)
		all[0] = nil
		if got := m.Match(matchers.Hello{}); got != matchers.Yes {
			t.Errorf("%s: %v, want Yes", name, got)
		}
	}
}

// ofValue is a matcher whose method has a value receiver.
type ofValue struct{}

func (ofValue) Match(matchers.Hello) matchers.Verdict { return matchers.Yes }

// Nil matchers of any type cause a panic; other matchers do not.
func TestNilMatchers(t *testing.T) {
	for name, tt := range map[string]struct {
		m     matchers.Matcher
		panic bool
	}{
		"nil": {nil, true}, "a nil pointer": {(*ofValue)(nil), true}, "a nil func": {matchers.MatcherFunc(nil), true},
		"a value": {ofValue{}, false}, "a pointer": {&ofValue{}, false}, "a func": {matchers.MatcherFunc(ofValue{}.Match), false},
	} {
		func() {
			defer func() {
				// A panic in Match has another value.
				if got := recover(); (got == "matchers: All: a matcher is nil") != tt.panic {
					t.Errorf("%s: panics with %v, want a panic of All: %t", name, got, tt.panic)
				}
			}()
			if got := matchers.All(tt.m).Match(matchers.Hello{}); got != matchers.Yes {
				t.Errorf("%s: %d, want Yes", name, got)
			}
		}()
	}
}

// A word of Prefix may be as long as Window.
func TestPrefixOfWindow(t *testing.T) {
	word := strings.Repeat("x", matchers.Window)
	verdicts(t, matchers.Prefix(word), map[string]string{word[1:]: "more", word: "yes"})
}
