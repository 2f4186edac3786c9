package handlers

import (
	"net/http"
	"strings"
)

// SameOrigin says whether r comes from a page of the origin that it is sent to (RFC 6454, section 5), or from a program:
// one without an Origin header. It is what handlers go by that are not told which origins to allow.
func SameOrigin(r *http.Request) bool {
	origins := r.Header["Origin"]
	switch {
	case len(origins) == 0:
		return true
	case len(origins) > 1:
		return false
	}
	scheme, host, ok := strings.Cut(origins[0], "://")
	if !ok {
		return false
	}
	ours := "http"
	if r.TLS != nil {
		ours = "https"
	}
	return strings.EqualFold(withPort(host, scheme), withPort(r.Host, ours))
}

// withPort gives host the port of the scheme if it has none.
func withPort(host, scheme string) string {
	if colon := strings.LastIndexByte(host, ':'); colon > strings.LastIndexByte(host, ']') {
		return host
	}
	if strings.EqualFold(scheme, "https") {
		return host + ":443"
	}
	return host + ":80"
}

// HasToken says whether a list of tokens, in one or more header lines, has this one, in any case (RFC 9110, section 5.6.1).
func HasToken(lines []string, token string) bool {
	for _, line := range lines {
		for one := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(one), token) {
				return true
			}
		}
	}
	return false
}
