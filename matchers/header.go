package matchers

import (
	"bytes"
	"fmt"
	"strings"
)

// WebSocket matches the opening handshake of a WebSocket client (RFC 6455, section 4.1): an
// HTTP/1.1 GET request with the token websocket, in any case, in one of its Upgrade header lines.
// It does not check the rest of the handshake. The token must come within the first [TextWindow]
// bytes.
func WebSocket() Matcher {
	return builtin(func(h Hello) Verdict {
		const get = "GET "
		n := min(len(h.Bytes), len(get))
		switch {
		case string(h.Bytes[:n]) != get[:n]:
			return No
		case n < len(get):
			return more(h, len(h.Bytes)+1)
		}
		return matchHeader(h, func(name, value []byte) bool {
			return equalFold(name, []byte("Upgrade")) && hasToken(value, "websocket")
		})
	})
}

// HTTP1Header matches HTTP/1.1 requests that have a header field with this name and value, both
// compared without regard to case. Host is a field like any other. The field must come within the
// first [TextWindow] bytes. HTTP1Header panics if name is not a field name or if no field can have
// the value.
func HTTP1Header(name, value string) Matcher {
	if name == "" || tokenLen([]byte(name)) != len(name) {
		panic(fmt.Sprintf("matchers: HTTP1Header: %q is no name of a field", name))
	}
	if strings.Trim(value, " \t") != value || strings.ContainsAny(value, "\r\n\x00") {
		panic(fmt.Sprintf("matchers: HTTP1Header: no field can have the value %q (RFC 9110, section 5.5)", value))
	}
	n, v := []byte(name), []byte(value)
	return builtin(func(h Hello) Verdict {
		return matchHeader(h, func(name, value []byte) bool { return equalFold(name, n) && equalFold(value, v) })
	})
}

// matchHeader returns Yes once a header line of the request fits, and No if the head ends without
// one.
func matchHeader(h Hello, fits func(name, value []byte) bool) Verdict {
	b := h.Bytes[:min(len(h.Bytes), TextWindow)]
	line, rest, whole := bytes.Cut(b, []byte("\n"))
	if whole && !isHTTP11(line) {
		return No
	}
	for whole {
		line, rest, whole = bytes.Cut(rest, []byte("\n"))
		if !whole {
			break
		}
		line = bytes.TrimSuffix(line, []byte("\r"))
		if len(line) == 0 {
			return No
		}
		if name, value, ok := bytes.Cut(line, []byte(":")); ok && fits(name, bytes.Trim(value, " \t")) {
			return Yes
		}
	}
	if len(b) == TextWindow {
		return No
	}
	return more(h, len(b)+1)
}

// isHTTP11 reports whether line is a request line of HTTP/1.1.
func isHTTP11(line []byte) bool {
	return bytes.HasSuffix(bytes.TrimSuffix(line, []byte("\r")), []byte(" HTTP/1.1")) && requestLine(line) == Yes
}

// hasToken reports whether a comma-separated list (RFC 9110, section 5.6.1) contains token, in any
// case.
func hasToken(list []byte, token string) bool {
	for len(list) > 0 {
		var one []byte
		one, list, _ = bytes.Cut(list, []byte(","))
		if equalFold(bytes.Trim(one, " \t"), []byte(token)) {
			return true
		}
	}
	return false
}

// equalFold reports whether a and b are equal under ASCII case folding. Other runes that fold to
// ASCII letters take more bytes, so the length excludes them.
func equalFold(a, b []byte) bool { return len(a) == len(b) && bytes.EqualFold(a, b) }
