package handlers

import (
	"net/http"
	"strings"
)

// SameOrigin reports whether r comes from a page of the origin that it is sent to (RFC 6454,
// section 5), scheme and port too, or from a program: one without an Origin header. It is what
// handlers go by that are not told which origins to allow. It believes the name in r, which
// [Hosts] must have allowed.
func SameOrigin(r *http.Request) bool {
	origins := r.Header["Origin"]
	switch {
	case len(origins) == 0:
		return true
	case len(origins) > 1:
		return false
	}
	ours := "http"
	if r.TLS != nil {
		ours = "https"
	}
	scheme, host, ok := strings.Cut(origins[0], "://")
	if !ok || host == "" || r.Host == "" || !strings.EqualFold(scheme, ours) {
		return false
	}
	return strings.EqualFold(withPort(host, ours), withPort(r.Host, ours))
}

// withPort gives host the port of the scheme, http or https, if it has none.
func withPort(host, scheme string) string {
	if colon := strings.LastIndexByte(host, ':'); colon > strings.LastIndexByte(host, ']') {
		return host
	}
	if scheme == "https" {
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
