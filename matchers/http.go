package matchers

import (
	"bytes"
	"strings"
)

// HTTP2 matches the connection preface of HTTP/2 with prior knowledge (RFC 9113, section 3.4).
func HTTP2() Matcher { return Prefix("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n") }

// HTTP1 matches whatever begins like a request of HTTP/1 or HTTP/0.9 (RFC 9112, section 3), well
// formed or not, so that it is never taken for anything else: after any white space
//
//   - a method that is registered with IANA, PATCH and a few that are in use, in any case, a space,
//     and a target that begins with / or * or http:// or https://, or names an authority for
//     CONNECT; this is decided without the rest;
//   - or any token, a space, any target, a space, and HTTP/ with a digit, in any case, all in the
//     first line.
//
// It says No as soon as the bytes rule that out: "GET\n", "GET stuff\n" and "GETTING / STARTED\n"
// are not HTTP.
func HTTP1() Matcher { return builtin(matchHTTP1) }

func matchHTTP1(h Hello) Verdict {
	b := h.Bytes[:min(len(h.Bytes), TextWindow)]
	line := bytes.TrimLeft(b, " \t\r\n")
	v := requestLine(line)
	if v != undetermined {
		return v
	}
	if len(b) == TextWindow {
		return No
	}
	return more(h, len(b)+1)
}

// undetermined is the verdict on a request line that is still too short to judge.
const undetermined Verdict = 1

// requestLine returns the verdict on the beginning of a request line.
func requestLine(line []byte) Verdict {
	n := tokenLen(line)
	switch {
	case n == len(line):
		return undetermined
	case n == 0 || line[n] != ' ':
		return No
	}
	target := bytes.TrimLeft(line[n:], " ")
	if isMethod(line[:n]) && isTarget(line[:n], target) {
		return Yes
	}
	if len(line)-len(target) > n+1 && version(target) == Yes {
		return Yes // an empty target between two spaces, which net/http accepts for CONNECT
	}
	end := bytes.IndexAny(target, " \n")
	switch {
	case end < 0:
		return undetermined
	case target[end] == '\n':
		return No
	}
	return version(bytes.TrimLeft(target[end:], " "))
}

// version returns the verdict on b, which stands where a request line has its HTTP version.
func version(b []byte) Verdict {
	const name = "HTTP/"
	n := min(len(b), len(name))
	switch {
	case !bytes.EqualFold(b[:n], []byte(name[:n])):
		return No
	case len(b) <= len(name):
		return undetermined
	case b[len(name)] < '0' || b[len(name)] > '9':
		return No
	}
	return Yes
}

// isTarget reports whether b begins like the target of a request with this method (RFC 9112,
// section 3.2).
func isTarget(method, b []byte) bool {
	switch {
	case len(b) == 0:
		return false
	case b[0] == '/' || b[0] == '*':
		return true
	case hasPrefixFold(b, "http://") || hasPrefixFold(b, "https://"):
		return true
	case bytes.EqualFold(method, []byte("CONNECT")):
		return isAuthority(b)
	}
	return false
}

// isAuthority reports whether b begins with host:port.
func isAuthority(b []byte) bool {
	for i, c := range b {
		switch {
		case c == ':' && i > 0 && i+1 < len(b) && b[i+1] >= '0' && b[i+1] <= '9':
			return true
		case c <= ' ':
			return false
		}
	}
	return false
}

func hasPrefixFold(b []byte, prefix string) bool {
	return len(b) >= len(prefix) && bytes.EqualFold(b[:len(prefix)], []byte(prefix))
}

// tokenLen returns how many leading bytes of b may be part of a token (RFC 9110, section 5.6.2).
func tokenLen(b []byte) int {
	for i, c := range b {
		if !tokenBytes[c] {
			return i
		}
	}
	return len(b)
}

var tokenBytes = func() (t [256]bool) {
	for _, c := range []byte("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") {
		t[c] = true
	}
	return t
}()

// isMethod reports whether b is a known method, in any case.
func isMethod(b []byte) bool {
	var upper [longestMethod]byte
	if len(b) > len(upper) {
		return false
	}
	for i, c := range b {
		if c >= 'a' {
			c -= 'a' - 'A' // turns no other byte of a token into a letter of a method
		}
		upper[i] = c
	}
	return methods[string(upper[:len(b)])]
}

const longestMethod = len("UPDATEREDIRECTREF")

// methods holds the methods of https://www.iana.org/assignments/http-methods and, in the last
// line, those of UPnP, caches and streaming.
var methods = func() map[string]bool {
	set := map[string]bool{}
	for _, method := range strings.Fields(`
		ACL BASELINE-CONTROL BIND CHECKIN CHECKOUT CONNECT COPY DELETE GET HEAD LABEL LINK LOCK MERGE
		MKACTIVITY MKCALENDAR MKCOL MKREDIRECTREF MKWORKSPACE MOVE OPTIONS ORDERPATCH PATCH POST PRI
		PROPFIND PROPPATCH PUT QUERY REBIND REPORT SEARCH TRACE UNBIND UNCHECKOUT UNLINK UNLOCK UPDATE
		UPDATEREDIRECTREF VERSION-CONTROL
		M-SEARCH NOTIFY SUBSCRIBE UNSUBSCRIBE PURGE SOURCE`) {
		set[method] = true
	}
	return set
}()
