package tcp

import (
	"bytes"
	"fmt"

	"github.com/portluck/portluck/handlers"
)

const (
	guardLines  = 16 // first lines that are looked at
	guardWindow = 64 // bytes of a guarded message that are kept whatever the limit
	maxMethod   = 32
)

var errHTTP = fmt.Errorf("http in a raw stream: %w", handlers.ErrProtocol)

const httpRefusal = "HTTP/1.1 400 Bad Request\r\n" +
	"Content-Type: text/plain; charset=utf-8\r\n" +
	"Content-Length: 38\r\n" +
	"Connection: close\r\n" +
	"\r\n" +
	"This is a raw stream, it is not HTTP.\n"

// guards says whether the next line may still show that a browser was lured here.
func (l *Lines) guards() bool { return !l.AllowHTTP && l.guarded < guardLines }

// speaksHTTP looks at the lines of a message, which is one, or more if the delimiter is not a line feed. An empty line
// is no line: HTTP servers skip those before a request (RFC 9112, section 2.2).
func (l *Lines) speaksHTTP(msg []byte) bool {
	cut := l.cut
	for len(msg) > 0 && l.guards() {
		line, rest, _ := bytes.Cut(msg, lf)
		msg = rest
		line = bytes.TrimRight(line, "\r")
		if len(line) == 0 && !cut {
			continue
		}
		l.guarded++
		begins := beginsRequest(line)
		if cut {
			begins = l.method
		}
		if l.guarded == 1 && begins && endsRequest(line) || !cut && beginsHost(line) {
			return true
		}
		cut = false
	}
	return false
}

var (
	lf      = []byte("\n")
	host    = []byte("host:")
	version = []byte(" http/")
)

// beginsRequest says whether line begins with a method and a space (RFC 9110, section 9.1).
func beginsRequest(line []byte) bool {
	line = bytes.TrimLeft(line, " \t")
	for i, c := range line {
		if c == ' ' || c == '\t' {
			return i > 0
		}
		if i == maxMethod || !isToken(c) {
			return false
		}
	}
	return false
}

// endsRequest says whether line ends with an HTTP version (RFC 9112, section 2.3).
func endsRequest(line []byte) bool {
	line = bytes.TrimRight(line, " \t")
	i := bytes.LastIndexAny(line, " \t")
	return i >= 0 && hasPrefixFold(line[i+1:], version[1:])
}

func beginsHost(line []byte) bool {
	return hasPrefixFold(bytes.TrimLeft(line, " \t"), host)
}

func hasPrefixFold(b, prefix []byte) bool {
	return len(b) >= len(prefix) && bytes.EqualFold(b[:len(prefix)], prefix)
}

// isToken says whether c may be in a token (RFC 9110, section 5.6.2).
func isToken(c byte) bool {
	switch {
	case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		return true
	}
	return bytes.IndexByte(tokenMarks, c) >= 0
}

var tokenMarks = []byte("!#$%&'*+-.^_`|~")
