package portluck

import (
	"net/http"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/portluck/portluck/handlers"
)

// browserHost matches a host as browsers write it, with the port unless it is the default of the
// scheme.
var browserHost = regexp.MustCompile(`^((?:[a-z0-9_-]+\.)*[a-z0-9_-]+\.?|\[[0-9a-f:]+\])(?::([1-9][0-9]{0,4}))?$`)

// isBrowserHost reports whether a browser may send host in an Origin.
func isBrowserHost(host string) bool {
	m := browserHost.FindStringSubmatch(host)
	if m == nil || len(m[1]) > 253 {
		return false
	}
	if _, err := strconv.ParseUint(m[2], 10, 16); m[2] != "" && err != nil {
		return false
	}
	if inner, ok := strings.CutPrefix(m[1], "["); ok {
		addr, err := netip.ParseAddr(strings.TrimSuffix(inner, "]"))
		return err == nil && (addr.String() == strings.TrimSuffix(inner, "]") || addr.Is4In6() && strings.HasPrefix(inner, "::ffff:") &&
			strings.Count(inner, ":") == 4 && !strings.Contains(inner, ":0") || addr.Is4In6() && inner == "::ffff:0:0]")
	}
	last := strings.TrimSuffix(m[1], ".")
	if last = last[strings.LastIndexByte(last, '.')+1:]; strings.Trim(last, "0123456789") == "" {
		addr, err := netip.ParseAddr(m[1])
		return err == nil && addr.Is4()
	}
	return true
}

// globs reports whether s matches pattern, in which a * stands for one or more letters, digits,
// hyphens and underscores. It is a second, independent implementation of what [Server.AllowOrigin]
// promises.
func globs(pattern, s string) bool {
	ok := []bool{true} // whether pattern to here matches the first i bytes of s
	ok = append(ok, make([]bool, len(s))...)
	for i := range len(pattern) {
		next := make([]bool, len(s)+1)
		for j := range len(s) {
			label := s[j] == '-' || s[j] == '_' || '0' <= s[j] && s[j] <= '9' || 'a' <= s[j] && s[j] <= 'z'
			next[j+1] = pattern[i] == '*' && label && (ok[j] || next[j]) || pattern[i] != '*' && ok[j] && pattern[i] == s[j]
		}
		ok = next
	}
	return ok[len(s)]
}

// A pattern that is refused would match no origin of a browser. An accepted one matches as globs
// does; without a * it matches only itself, in any case of ASCII letters.
func FuzzAllowOrigin(f *testing.F) {
	for _, pattern := range []string{
		"example.com", "*.example.com", "example.com:*", "EXAMPLE.com.:80*", "foo*.com", "10.*.0.1", "*.0.1", "*.*.*.1", "[::1]", "[fe80::*]",
		"[::ffff:7f00:1]", "[::ffff:127.0.0.1]", "https://x", "\u017f.example", "\xff", "", "[", "a:*:*", "*:*", "1.2.3.256", "x*:0*",
	} {
		for _, host := range []string{"example.com", "www.Example.com:80", "\u017f.example", "s.example", "127.0.0.1", "[::ffff:7f00:1]", "[fe80::1]:1"} {
			f.Add(pattern, host)
		}
	}
	f.Fuzz(func(t *testing.T, pattern, host string) {
		if pattern == "*" || len(pattern) > 300 || len(host) > 300 || strings.Contains(host, "://") {
			return
		}
		allowed := (&Server{AllowOrigin: []string{pattern}}).checkOrigin()
		got := allowed(&http.Request{Header: http.Header{"Origin": {"https://" + host}}})
		if handlers.CheckOriginPattern(pattern) != nil {
			if got && isBrowserHost(host) {
				t.Errorf("%q, which is refused, matches %q", pattern, host)
			}
			return
		}
		lower, fold := lowerASCII(pattern), lowerASCII(host)
		bodies := []string{lower}
		if base, ok := strings.CutSuffix(lower, ":*"); ok {
			bodies = []string{base}
			if at := strings.LastIndexByte(fold, ':'); at >= 0 && at < len(fold)-1 && strings.Trim(fold[at+1:], "0123456789") == "" {
				bodies = append(bodies, base+fold[at:])
			}
		}
		want := false
		for _, body := range bodies {
			base, below := strings.CutPrefix(body, "*.")
			for rest := fold; ; {
				want = want || globs(base, rest)
				label, more, ok := strings.Cut(rest, ".")
				if rest = more; !below || !ok || !globs("*", label) {
					break
				}
			}
		}
		if got != want {
			t.Errorf("%q allows %q: %t, want %t", pattern, host, got, want)
		}
	})
}
