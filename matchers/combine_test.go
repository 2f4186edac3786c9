package matchers_test

import (
	"testing"

	"github.com/portluck/portluck/matchers"
)

// What a program does with its slice of matchers later changes no matcher made of them.
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

// ofValue is a matcher whose method has the value.
type ofValue struct{}

func (ofValue) Match(matchers.Hello) matchers.Verdict { return matchers.Yes }

// Matchers that are nil are refused, whatever they are nil of; others are not.
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
				if got := recover() != nil; got != tt.panic {
					t.Errorf("%s: panics: %t", name, got)
				}
			}()
			if got := matchers.All(tt.m).Match(matchers.Hello{}); got != matchers.Yes {
				t.Errorf("%s: %d, want Yes", name, got)
			}
		}()
	}
}
