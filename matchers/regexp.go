package matchers

import (
	"regexp"
	"regexp/syntax"
)

// Regexp matches connections whose first bytes, limit of them at the most, match re; start it with \A. The limit is
// [TextWindow] if it is zero or negative, and never more than [Window]. An expression that looks at what follows, such as
// with $ or \b, is decided when limit bytes have come, another one as soon as it matches; only then or at the limit is it
// known that it does not.
func Regexp(re *regexp.Regexp, limit int) Matcher {
	if limit <= 0 {
		limit = TextWindow
	}
	limit = min(limit, Window)
	ahead := looksAhead(re)
	return MatcherFunc(func(h Hello) Verdict {
		b := h.Bytes[:min(len(h.Bytes), limit)]
		whole := h.EOF || len(b) == limit
		switch {
		case (whole || !ahead) && re.Match(b):
			return Yes
		case whole:
			return No
		}
		return Need(len(b) + 1)
	})
}

// looksAhead says whether more bytes can undo a match of re.
func looksAhead(re *regexp.Regexp) bool {
	parsed, err := syntax.Parse(re.String(), syntax.Perl)
	return err != nil || hasAssertion(parsed)
}

func hasAssertion(re *syntax.Regexp) bool {
	switch re.Op {
	case syntax.OpEndText, syntax.OpEndLine, syntax.OpWordBoundary, syntax.OpNoWordBoundary:
		return true
	}
	for _, sub := range re.Sub {
		if hasAssertion(sub) {
			return true
		}
	}
	return false
}
