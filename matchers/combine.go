package matchers

import (
	"reflect"
	"slices"
)

// Any matches every connection, even before it has sent a byte.
func Any() Matcher { return builtin(func(Hello) Verdict { return Yes }) }

// All matches a connection that every given matcher matches. Without matchers it matches
// everything. It panics if one is nil.
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

// AnyOf matches a connection that at least one given matcher matches. Without matchers it matches
// nothing. It panics if one is nil.
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

// Not matches a connection that m does not match. It panics if m is nil.
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

// combined returns match, which calls all, as a matcher. It is a builtin if every one of all is.
func combined(match func(h Hello) Verdict, all ...Matcher) Matcher {
	for _, m := range all {
		if _, ok := m.(builtin); !ok {
			return MatcherFunc(match)
		}
	}
	return builtin(match)
}

// soonest returns the smaller of need, unless that is 0, and the need of v: any undecided matcher
// may decide alone.
func soonest(need int, v Verdict) int {
	if need == 0 {
		return v.Needed()
	}
	return min(need, v.Needed())
}

// undecided returns Need(need), or otherwise if need is 0.
func undecided(need int, otherwise Verdict) Verdict {
	if need > 0 {
		return Need(need)
	}
	return otherwise
}

// more returns the verdict of a matcher that wants n bytes in all: Need, or No at the end of the
// stream.
func more(h Hello, n int) Verdict {
	if h.EOF {
		return No
	}
	return Need(max(n, len(h.Bytes)+1))
}

// refuseNil panics if one of the matchers passed to the func named call is nil: no connection
// would ever be classified.
func refuseNil(call string, all ...Matcher) {
	for _, m := range all {
		v := reflect.ValueOf(m)
		if m == nil || (v.Kind() == reflect.Pointer || v.Kind() == reflect.Func) && v.IsNil() {
			panic("matchers: " + call + ": a matcher is nil")
		}
	}
}
