package portluck

import (
	"net/http"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"

	"github.com/portluck/portluck/handlers"
)

// checkOrigin returns what decides whether a page of the request's Origin may talk to the server, or nil for the
// handlers' own rule: no Origin, or the same one.
func (s *Server) checkOrigin() func(*http.Request) bool {
	open := len(s.AllowOrigin) == 0 && s.AllowOriginRegexp == nil
	if open && !s.RequireOrigin {
		return nil
	}
	every := slices.Contains(s.AllowOrigin, "*")
	var allowed []*regexp.Regexp
	for _, pattern := range s.AllowOrigin {
		allowed = append(allowed, originPattern(pattern))
	}
	if s.AllowOriginRegexp != nil {
		re, _ := wholeRegexp(s.AllowOriginRegexp) // check has seen that it compiles
		allowed = append(allowed, re)
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
		for _, re := range allowed {
			if re.MatchString(host) {
				return true
			}
		}
		return false
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

// originPattern compiles a pattern of [Server.AllowOrigin].
func originPattern(pattern string) *regexp.Regexp {
	const label = `[a-zA-Z0-9_-]`
	prefix, suffix := "", ""
	switch {
	case strings.HasPrefix(pattern, "*."):
		pattern, prefix = pattern[2:], `(?:`+label+`+\.)*`
	}
	if strings.HasSuffix(pattern, ":*") {
		pattern, suffix = strings.TrimSuffix(pattern, ":*"), `(?::[0-9]+)?`
	}
	body := strings.ReplaceAll(regexp.QuoteMeta(pattern), `\*`, label+`+`)
	return regexp.MustCompile(`(?i)\A` + prefix + body + suffix + `\z`)
}
