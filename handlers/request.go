package handlers

import (
	"net/http"
	"net/url"
	"strings"
)

// SameOrigin reports whether r comes from a page of the same host and port that r is sent to, or
// has no Origin header, as requests of programs have none. The scheme of the page's origin (RFC
// 6454, section 6.2) may be any, such as https behind a proxy that terminates TLS, or capacitor in
// an app. The exception is http if r comes over TLS. An origin without a port has port 80 with http
// and 443 with https; with other schemes the two hosts must be written alike. An origin without a
// host, such as null or file://, is never the same. Handlers use SameOrigin if the program does not
// set which origins to allow. It trusts the host in r, so [Hosts] must allow it first.
func SameOrigin(r *http.Request) bool {
	origins := r.Header["Origin"]
	if len(origins) != 1 {
		return len(origins) == 0
	}
	u, err := url.Parse(origins[0])
	if err != nil || u.Hostname() == "" || !strings.EqualFold(origins[0], u.Scheme+"://"+u.Host) {
		return false // it is more or less than a scheme and a host; it has a password or a path, say
	}
	port := ""
	switch u.Scheme {
	case "http":
		if r.TLS != nil {
			return false
		}
		port = ":80"
	case "https":
		port = ":443"
	}
	return strings.EqualFold(withPort(u.Host, port), withPort(r.Host, port))
}

// withPort returns host, with port appended if it has none.
func withPort(host, port string) string {
	if strings.LastIndexByte(host, ':') > strings.LastIndexByte(host, ']') {
		return host
	}
	return host + port
}

// HasToken reports whether a comma-separated list, in one or more header lines, contains token (RFC
// 9110, section 5.6.1). It ignores the case of ASCII letters and the spaces and tabs around a
// token.
func HasToken(lines []string, token string) bool {
	for _, line := range lines {
		for one := range strings.SplitSeq(line, ",") {
			one = strings.Trim(one, " \t")
			// Non-ASCII letters that fold to ASCII are longer.
			if len(one) == len(token) && strings.EqualFold(one, token) {
				return true
			}
		}
	}
	return false
}
