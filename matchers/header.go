package matchers

import (
	"bytes"
	"fmt"
	"strings"
)

// WebSocket matches the opening handshake of a WebSocket client (RFC 6455, section 4.1): a GET
// request of HTTP/1.1 with websocket in its Upgrade header, in any case, in a list or in one of
// several lines. The handshake may be wrong otherwise. What does not show it in the first
// [TextWindow] bytes is not matched.
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

// HTTP1Header matches requests of HTTP/1.1 that have a header field of this name with this value,
// both in any case. Host is a field like any other. What does not show it in the first [TextWindow]
// bytes is not matched. It panics if name is none of a field, or if no field can have the value.
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

// matchHeader is Yes when a header line of a request fits, and No when the head has ended without
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

// hasToken reports whether a list of tokens (RFC 9110, section 5.6.1) has this one, in any case.
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

// equalFold reports whether a and b are the same but for the case of letters of ASCII. The others
// that fold to these are longer.
func equalFold(a, b []byte) bool { return len(a) == len(b) && bytes.EqualFold(a, b) }
