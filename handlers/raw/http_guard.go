package raw

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/portluck/portluck/handlers"
)

// The HTTP guard of [Lines] ends a client that turns out to be a browser: any web page can make its
// user's browser send any body to any port. A browser sends a request line first, so the guard
// examines the first line that is not empty. It examines the first and the last bytes only, because
// [Lines.Tail] drops those between. If a delimiter has cut what begins like a request line, the
// guard looks for the field Host in the lines that follow it.
const (
	guardLines  = 16   // lines among which the guard looks for Host
	guardWindow = 1024 // bytes that it examines at the beginning of a message
	guardEnd    = 64   // bytes that it examines at the end of a request line
	maxMethod   = 32   // bytes of a method
	maxVersion  = 16   // bytes of a space and an HTTP version
)

const httpRefusal = "This is a raw stream, it is not HTTP."

var errHTTP = fmt.Errorf("http in a raw stream: %w", handlers.ErrProtocol)

// guards reports whether the guard examines the next message.
func (l *Lines) guards() bool { return !l.AllowHTTP && l.guarded < guardLines }

// speaksHTTP reports whether msg, which may be the beginning of a longer message, is HTTP. A
// message has several lines if the delimiter is not a line feed. If msg has the beginning of a
// request line but not its end, speaksHTTP sets l.method.
func (l *Lines) speaksHTTP(msg []byte) bool {
	head := msg[:min(len(msg), guardWindow)]
	for at := 0; len(head) > 0 && l.guards(); at++ {
		line, rest, ended := bytes.Cut(head, lf)
		head = rest
		if line = bytes.TrimLeft(line, blanks); len(line) == 0 {
			continue // HTTP servers skip empty lines before a request (RFC 9112, section 2.2)
		}
		l.guarded++
		if l.guarded > 1 {
			if at > 0 && hasPrefixFold(line, hostColon) { // a field begins a line
				return true
			}
			continue
		}
		byLines := strings.HasSuffix(l.delimiter(), "\n")
		switch begins := beginsRequest(line); {
		case !begins && !ended && isMethod(line) && isBlank(l.delimiter()[0]):
			continue // the delimiter is the space after the method
		case !begins:
		case ended:
			l.guarded = guardLines
			return hasTarget(line) && endsRequest(line)
		case len(msg) >= guardWindow && !byLines:
			l.guarded = guardLines
			return hasTarget(line) // the end of the line may be far away
		default:
			l.method = hasTarget(line)
			if !byLines {
				continue // the delimiter has cut the request line: look for Host
			}
		}
		l.guarded = guardLines
	}
	return false
}

// blanks are the bytes that may precede a request line.
const blanks = " \t\r\v\f"

func isBlank(c byte) bool { return c == ' ' || c == '\t' }

var (
	lf        = []byte("\n")
	hostColon = []byte("host:")
	httpSlash = []byte("http/")
	scheme    = []byte("://")
)

// beginsRequest reports whether line begins with a method and a space (RFC 9110, section 9.1).
func beginsRequest(line []byte) bool {
	method, _, found := cutBlank(line)
	return found && isMethod(method)
}

// cutBlank cuts line before its first space or tab.
func cutBlank(line []byte) (before, after []byte, found bool) {
	i := bytes.IndexAny(line, " \t")
	if i < 0 {
		return line, nil, false
	}
	return line[:i], line[i:], true
}

// isMethod reports whether b, which is not empty, may be a method.
func isMethod(b []byte) bool {
	for _, c := range b {
		if !isToken(c) {
			return false
		}
	}
	return len(b) <= maxMethod
}

// hasTarget reports whether a request target (RFC 9112, section 3.2) follows the method at the
// beginning of line: a path, a URL, an asterisk, or anything after CONNECT.
func hasTarget(line []byte) bool {
	method, rest, _ := cutBlank(line)
	rest = bytes.TrimLeft(rest, " \t")
	if bytes.HasPrefix(rest, []byte("/")) || bytes.Contains(rest[:min(len(rest), maxMethod)], scheme) {
		return true
	}
	target, _, found := cutBlank(rest)
	return found && (string(target) == "*" || bytes.EqualFold(method, []byte("CONNECT")))
}

// endsRequest reports whether line ends with an HTTP version (RFC 9112, section 2.3).
func endsRequest(line []byte) bool {
	line = bytes.TrimRight(line[max(0, len(line)-guardEnd):], " \t\r\n")
	i := bytes.LastIndexAny(line, " \t")
	if len(line)-i > maxVersion || !hasPrefixFold(line[i+1:], httpSlash) {
		return false
	}
	digits := line[i+1+len(httpSlash):]
	return len(digits) > 0 && len(bytes.Trim(digits, ".0123456789")) == 0
}

func hasPrefixFold(b, prefix []byte) bool {
	return len(b) >= len(prefix) && bytes.EqualFold(b[:len(prefix)], prefix)
}

// isToken reports whether c may be in a token (RFC 9110, section 5.6.2).
func isToken(c byte) bool {
	switch {
	case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		return true
	}
	return strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}
