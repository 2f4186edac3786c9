package handlers

import (
	"net/http"
	"net/url"
	"strings"
)

// SameOrigin reports whether r comes from a page of the host and port that it is sent to, or from a
// program: one without an Origin header. The scheme of the page's origin (RFC 6454, section 6.2)
// may be any: https where a proxy has taken TLS off, capacitor in an app. Only http is not ours
// where r comes over TLS. Without a port http stands for port 80 and https for 443; for other
// schemes the two hosts must be written alike. Origins without a host, such as null and file://,
// are nobody's. SameOrigin is what handlers go by that are not told which origins to allow. It
// believes the name in r, which [Hosts] must have allowed.
func SameOrigin(r *http.Request) bool {
	origins := r.Header["Origin"]
	if len(origins) != 1 {
		return len(origins) == 0
	}
	u, err := url.Parse(origins[0])
	if err != nil || u.Hostname() == "" || !strings.EqualFold(origins[0], u.Scheme+"://"+u.Host) {
		return false // it has less than a scheme and a host, or more: a name and password, a path
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

// withPort returns host with port, unless it has one.
func withPort(host, port string) string {
	if strings.LastIndexByte(host, ':') > strings.LastIndexByte(host, ']') {
		return host
	}
	return host + port
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
