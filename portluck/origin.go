package portluck

import (
	"net/http"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"

	"github.com/portluck/portluck/handlers"
)

// checkOrigin returns a func that reports whether the page that sent a request may talk to the
// server, by its Origin. It returns nil for the default rule of the handlers: no Origin, or the
// same one.
func (s *Server) checkOrigin() func(*http.Request) bool {
	open := len(s.AllowOrigin) == 0 && s.AllowOriginRegexp == nil
	if open && !s.RequireOrigin {
		return nil
	}
	every := slices.Contains(s.AllowOrigin, "*")
	var allowed []*regexp.Regexp
	for _, pattern := range s.AllowOrigin {
		if handlers.CheckOriginPattern(pattern) == nil { // check rejects others before serving
			allowed = append(allowed, originPattern(pattern))
		}
	}
	var whole *regexp.Regexp
	if s.AllowOriginRegexp != nil {
		whole, _ = wholeRegexp(s.AllowOriginRegexp) // check has verified that it compiles
	}
	return func(r *http.Request) bool {
		values := r.Header.Values("Origin")
		switch {
		case len(values) == 0:
			return !s.RequireOrigin
		case len(values) > 1 || values[0] == "":
			return false
		case every:
			return true
		case open:
			return handlers.SameOrigin(r)
		}
		host := originHost(values[0])
		lower := lowerASCII(host)
		for _, re := range allowed {
			if re.MatchString(lower) {
				return true
			}
		}
		return whole != nil && whole.MatchString(host)
	}
}

// wholeRegexp returns an expression that matches the strings that re matches as a whole. It parses
// re first: the text may end in a quotation (\Q) or have POSIX syntax.
func wholeRegexp(re *regexp.Regexp) (*regexp.Regexp, error) {
	parsed, err := syntax.Parse(re.String(), syntax.Perl)
	if err != nil {
		return nil, err
	}
	return regexp.Compile(`\A(?:` + parsed.String() + `)\z`)
}

// originHost returns origin without its scheme, as upstream matches it.
func originHost(origin string) string {
	if _, host, ok := strings.Cut(origin, "://"); ok {
		return host
	}
	return origin
}

// lowerASCII returns s with ASCII letters in lower case. Unlike (?i) and strings.ToLower it turns
// no other letter into an ASCII one.
func lowerASCII(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			r += 'a' - 'A'
		}
		return r
	}, s)
}

// originPattern compiles a pattern of [Server.AllowOrigin], to match results of lowerASCII.
func originPattern(pattern string) *regexp.Regexp {
	const label = `[a-z0-9_-]`
	pattern, prefix, suffix := lowerASCII(pattern), "", ""
	if base, ok := strings.CutPrefix(pattern, "*."); ok {
		pattern, prefix = base, `(?:`+label+`+\.)*`
	}
	if base, ok := strings.CutSuffix(pattern, ":*"); ok {
		pattern, suffix = base, `(?::[0-9]+)?`
	}
	body := strings.ReplaceAll(regexp.QuoteMeta(pattern), `\*`, label+`+`)
	return regexp.MustCompile(`\A` + prefix + body + suffix + `\z`)
}
