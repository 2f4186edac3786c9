package raw

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/portluck/portluck/handlers"
)

// The guard ends a client that turns out to be a browser, which any page can make send any body to
// any port. A browser sends a request line first, whatever the page wants, so the guard looks at
// the first line that is not empty, and at its first and last bytes only: what [Lines.Tail] drops
// is in between. Only where a delimiter has cut what begins like a request line it looks for a line
// that is the field Host too.
const (
	guardLines  = 16   // first lines that are looked at then
	guardWindow = 1024 // first bytes of a message that are looked at
	guardEnd    = 64   // last bytes of a request line that are looked at
	maxMethod   = 32
	maxVersion  = 16
)

const httpRefusal = "This is a raw stream, it is not HTTP."

var errHTTP = fmt.Errorf("http in a raw stream: %w", handlers.ErrProtocol)

// guards reports whether the next message is looked at.
func (l *Lines) guards() bool { return !l.AllowHTTP && l.guarded < guardLines }

// speaksHTTP reports whether the first bytes of a message are HTTP. Those of a message are one
// line, or several if the delimiter is not a line feed. If they are the beginning of a request line
// whose end is not there, it sets l.method.
func (l *Lines) speaksHTTP(msg []byte) bool {
	head := msg[:min(len(msg), guardWindow)]
	for at := 0; len(head) > 0 && l.guards(); at++ {
		line, rest, ended := bytes.Cut(head, lf)
		head = rest
		if line = bytes.TrimLeft(line, blanks); len(line) == 0 {
			continue // HTTP servers skip those before a request (RFC 9112, section 2.2)
		}
		l.guarded++
		if l.guarded > 1 {
			if at > 0 && hasPrefixFold(line, hostColon) { // a delimiter does not begin a line
				return true
			}
			continue
		}
		byLines := strings.HasSuffix(l.delimiter(), "\n")
		switch begins := beginsRequest(line); {
		case !begins && !ended && isMethod(line) && isBlank(l.delimiter()[0]):
			continue // the delimiter is the space behind the method
		case !begins:
		case ended:
			l.guarded = guardLines
			return hasTarget(line) && endsRequest(line)
		case len(msg) >= guardWindow && !byLines:
			l.guarded = guardLines
			return hasTarget(line) // its end may be anywhere
		default:
			l.method = hasTarget(line)
			if !byLines {
				continue // a delimiter has cut the request line
			}
		}
		l.guarded = guardLines
	}
	return false
}

// blanks are skipped before a request line.
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
	n := bytes.IndexAny(line, " \t")
	return n > 0 && isMethod(line[:n])
}

// isMethod reports whether b may be a method.
func isMethod(b []byte) bool {
	for _, c := range b {
		if !isToken(c) {
			return false
		}
	}
	return len(b) > 0 && len(b) <= maxMethod
}

// hasTarget reports whether the method at the beginning of line is followed by what a request is
// for (RFC 9112, section 3.2): a path, a URL, the asterisk or, for CONNECT, anything.
func hasTarget(line []byte) bool {
	n := max(bytes.IndexAny(line, " \t"), 0)
	target := bytes.TrimLeft(line[n:], " \t")
	end := bytes.IndexAny(target, " \t")
	if bytes.HasPrefix(target, []byte("/")) || bytes.Contains(target[:min(len(target), maxMethod)], scheme) {
		return true
	}
	return end > 0 && (string(target[:end]) == "*" || bytes.EqualFold(line[:n], []byte("CONNECT")))
}

// endsRequest reports whether line ends with an HTTP version (RFC 9112, section 2.3).
func endsRequest(line []byte) bool {
	line = bytes.TrimRight(line[max(0, len(line)-guardEnd):], " \t\r\n")
	i := bytes.LastIndexAny(line, " \t")
	if i < 0 || len(line)-i > maxVersion || !hasPrefixFold(line[i+1:], httpSlash) {
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
