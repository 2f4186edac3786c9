package matchers

import (
	"reflect"
	"slices"
)

// Any matches every connection, before it has sent a byte.
func Any() Matcher { return builtin(func(Hello) Verdict { return Yes }) }

// All matches what every one of all matches; with none it matches everything.
func All(all ...Matcher) Matcher {
	refuseNil("All", all...)
	all = slices.Clone(all)
	return combined(func(h Hello) Verdict {
		need := 0
		for _, m := range all {
			switch v := m.Match(h); {
			case v == No:
				return No
			case v != Yes:
				need = soonest(need, v)
			}
		}
		return undecided(need, Yes)
	}, all...)
}

// AnyOf matches what at least one of all matches; with none it matches nothing.
func AnyOf(all ...Matcher) Matcher {
	refuseNil("AnyOf", all...)
	all = slices.Clone(all)
	return combined(func(h Hello) Verdict {
		need := 0
		for _, m := range all {
			switch v := m.Match(h); {
			case v == Yes:
				return Yes
			case v != No:
				need = soonest(need, v)
			}
		}
		return undecided(need, No)
	}, all...)
}

// Not matches what m does not match.
func Not(m Matcher) Matcher {
	refuseNil("Not", m)
	return combined(func(h Hello) Verdict {
		switch v := m.Match(h); v {
		case Yes:
			return No
		case No:
			return Yes
		default:
			return v
		}
	}, m)
}

// combined returns match, which asks all: as a builtin if they are.
func combined(match func(h Hello) Verdict, all ...Matcher) Matcher {
	for _, m := range all {
		if _, ok := m.(builtin); !ok {
			return MatcherFunc(match)
		}
	}
	return builtin(match)
}

// soonest is the smaller need: any one of the undecided can decide alone.
func soonest(need int, v Verdict) int {
	if need == 0 {
		return v.Needed()
	}
	return min(need, v.Needed())
}

// undecided is Need(need), or otherwise if nothing is needed.
func undecided(need int, otherwise Verdict) Verdict {
	if need > 0 {
		return Need(need)
	}
	return otherwise
}

// more is the verdict of a matcher that wants n bytes in all: Need, or No when they will not come.
func more(h Hello, n int) Verdict {
	if h.EOF {
		return No
	}
	return Need(max(n, len(h.Bytes)+1))
}

// refuseNil panics if a matcher that call gets is nil: no connection would ever be classified.
func refuseNil(call string, all ...Matcher) {
	for _, m := range all {
		v := reflect.ValueOf(m)
		if m == nil || (v.Kind() == reflect.Pointer || v.Kind() == reflect.Func) && v.IsNil() {
			panic("matchers: " + call + ": a matcher is nil")
		}
	}
}
