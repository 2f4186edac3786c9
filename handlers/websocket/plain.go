package websocket

import (
	"bytes"

	"github.com/portluck/portluck/handlers"
)

// maxPlain is the length of the longest head that IsPlain accepts. Package httpd counts longer ones
// for its budget, as long as their clients keep them.
const maxPlain = 4 << 10

// IsPlain reports whether b begins with the complete head of a plain opening handshake, one that
// [Handler.Serve] reads exactly as the server of net/http does: a GET request of HTTP/1.1 for a
// path, whose lines are fields that end in CRLF, with all that RFC 6455, section 4.2.1, requires
// and without a body. Serve refuses such a handshake only for its Host or its Origin. A program
// that also serves HTTP gives all other heads to net/http and [Handler.Upgrade], so that the answer
// to a request does not depend on how it was read.
func IsPlain(b []byte) bool {
	n := endOfHead(b, 0)
	if n == 0 || n > maxPlain {
		return false
	}
	line, fields, _ := bytes.Cut(b[:n], crlf)
	if !isPlainRequest(line) {
		return false
	}
	var seen plainFields
	for {
		line, fields, _ = bytes.Cut(fields, crlf)
		if len(line) == 0 {
			return len(fields) == 0 && seen.suffice()
		}
		name, value, ok := bytes.Cut(line, []byte(":"))
		if !ok || !isToken(string(name)) || !isValue(value) || !seen.add(name, bytes.Trim(value, " \t")) {
			return false
		}
	}
}

var crlf = []byte("\r\n")

// isPlainRequest reports whether line is "GET", a path in ASCII, perhaps a query, and "HTTP/1.1".
func isPlainRequest(line []byte) bool {
	target, ok := bytes.CutPrefix(line, []byte("GET "))
	if !ok {
		return false
	}
	if target, ok = bytes.CutSuffix(target, []byte(" HTTP/1.1")); !ok || len(target) == 0 || target[0] != '/' {
		return false
	}
	for i, c := range target {
		switch {
		case c <= ' ' || c >= 0x7f:
			return false
		case c == '%' && (i+2 >= len(target) || !isHex(target[i+1]) || !isHex(target[i+2])):
			return false
		}
	}
	return true
}

func isHex(c byte) bool { return '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'f' }

// isValue reports whether b may be the value of a field (RFC 9110, section 5.5).
func isValue(b []byte) bool {
	for _, c := range b {
		if c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

// plainFields counts the fields that a plain handshake must have.
type plainFields struct {
	hosts, keys, versions int
	upgrade, connection   bool
}

// add counts a field. It returns false if a plain handshake cannot have it.
func (f *plainFields) add(name, value []byte) bool {
	is := func(s string) bool { return bytes.EqualFold(name, []byte(s)) }
	has := func(token string) bool { return handlers.HasToken([]string{string(value)}, token) }
	switch {
	case is("Host"):
		f.hosts++
		return len(value) > 0 && isHost(value)
	case is("Sec-WebSocket-Key"):
		f.keys++
		return isKey(string(value))
	case is("Sec-WebSocket-Version"):
		f.versions++
		return string(value) == "13"
	case is("Upgrade"):
		f.upgrade = f.upgrade || has("websocket")
	case is("Connection"):
		f.connection = f.connection || has("upgrade")
	case is("Content-Length"), is("Transfer-Encoding"), is("Expect"):
		return false
	}
	return true
}

func (f *plainFields) suffice() bool {
	return f.hosts == 1 && f.keys == 1 && f.versions == 1 && f.upgrade && f.connection
}
