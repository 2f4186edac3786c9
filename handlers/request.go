package handlers

import (
	"net/http"
	"strings"
)

// SameOrigin reports whether r comes from a page of the host and port that it is sent to (RFC 6454,
// section 5), or from a program: one without an Origin header. A page over https is of our origin
// also where r comes in the clear, from a proxy that has taken TLS off; a page over http is not where
// r comes over TLS. It is what handlers go by that are not told which origins to allow. It believes
// the name in r, which [Hosts] must have allowed.
func SameOrigin(r *http.Request) bool {
	origins := r.Header["Origin"]
	switch {
	case len(origins) == 0:
		return true
	case len(origins) > 1:
		return false
	}
	scheme, host, _ := strings.Cut(origins[0], "://")
	secure := strings.EqualFold(scheme, "https")
	if host == "" || r.Host == "" || !secure && (r.TLS != nil || !strings.EqualFold(scheme, "http")) {
		return false
	}
	return strings.EqualFold(withPort(host, secure), withPort(r.Host, secure))
}

// withPort gives host the port of http, or of https if secure, if it has none.
func withPort(host string, secure bool) string {
	if colon := strings.LastIndexByte(host, ':'); colon > strings.LastIndexByte(host, ']') {
		return host
	}
	if secure {
		return host + ":443"
	}
	return host + ":80"
}

// HasToken reports whether a list of tokens, in one or more header lines, has this one, in any case
// of ASCII, with spaces and tabs around it (RFC 9110, section 5.6.1).
func HasToken(lines []string, token string) bool {
	for _, line := range lines {
		for one := range strings.SplitSeq(line, ",") {
			one = strings.Trim(one, " \t")
			if len(one) == len(token) && strings.EqualFold(one, token) { // other letters that fold are longer
				return true
			}
		}
	}
	return false
}
