package portluck

import (
	"net/http"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"

	"github.com/portluck/portluck/handlers"
)

// checkOrigin returns what decides whether a page of the request's Origin may talk to the server,
// or nil for the handlers' own rule: no Origin, or the same one.
func (s *Server) checkOrigin() func(*http.Request) bool {
	open := len(s.AllowOrigin) == 0 && s.AllowOriginRegexp == nil
	if open && !s.RequireOrigin {
		return nil
	}
	every := slices.Contains(s.AllowOrigin, "*")
	var allowed []*regexp.Regexp
	for _, pattern := range s.AllowOrigin {
		if handlers.CheckOriginPattern(pattern) == nil { // check refuses to serve with others
			allowed = append(allowed, originPattern(pattern))
		}
	}
	var whole *regexp.Regexp
	if s.AllowOriginRegexp != nil {
		whole, _ = wholeRegexp(s.AllowOriginRegexp) // check has seen that it compiles
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

// wholeRegexp returns what matches when re matches the whole. The text of re may end in a quotation
// (\Q), or be of the POSIX kind.
func wholeRegexp(re *regexp.Regexp) (*regexp.Regexp, error) {
	parsed, err := syntax.Parse(re.String(), syntax.Perl)
	if err != nil {
		return nil, err
	}
	return regexp.Compile(`\A(?:` + parsed.String() + `)\z`)
}

// originHost is an origin without its scheme, as upstream matches it.
func originHost(origin string) string {
	if _, host, ok := strings.Cut(origin, "://"); ok {
		return host
	}
	return origin
}

// lowerASCII returns s with the letters of ASCII in lower case. No other letter becomes one of
// ASCII, as with (?i) or strings.ToLower.
func lowerASCII(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			r += 'a' - 'A'
		}
		return r
	}, s)
}

// originPattern compiles a pattern of [Server.AllowOrigin], for what lowerASCII returns.
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
