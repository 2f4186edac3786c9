package portluck

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"net/http"
	"time"

	"github.com/portluck/portluck/handlers/httpd"
)

// stage names what an undecided connection must show next. Each stage has its own time bound.
type stage uint8

const (
	stageProxy  stage = iota // its PROXY header
	stageFirst               // its first byte
	stageBehind              // its first byte after a PROXY header
	stageMore                // more bytes to tell its protocol, or the rest of its ClientHello
	stageHead                // the rest of the head of its request
	stageLate                // its first byte, after it was silent for SniffTimeout
	stages
)

// stage returns the stage that c is in.
func (c *conn) stage() stage {
	switch {
	case c.unproxied:
		return stageProxy
	case c.chosen != nil:
		return c.chosen.opening.stage
	case c.seen > 0:
		return stageMore
	case c.waiting:
		return stageLate
	case c.proxied:
		return stageBehind
	}
	return stageFirst
}

// patience returns the time bound of a stage; negative means none.
func (p *port) patience(s stage) time.Duration {
	switch s {
	case stageProxy:
		return p.srv.proxyTimeout()
	case stageHead:
		return cmp.Or(p.http.HeaderTimeout, httpd.DefaultHeaderTimeout)
	case stageLate:
		return p.srv.timeout()
	}
	return p.srv.sniffTimeout()
}

// opening describes the first message that must be whole before a handler is called. Until it is
// whole, malformed, or longer than [matchers.Window], the connection stays undecided and costs no
// more than that.
type opening struct {
	// need returns how many bytes in all are needed at least. It returns 0 if b contains the
	// opening or is malformed.
	need  func(b []byte) int
	stage stage // of a connection whose opening is incomplete
}

var (
	helloOpening = &opening{need: helloNeed, stage: stageMore}
	headOpening  = &opening{need: headNeed, stage: stageHead}
)

// These are the parts of TLS records and messages that enclose a ClientHello (RFC 8446, sections 4
// and 5; RFC 5246, sections 6.2 and 7.4), and the limits of crypto/tls.
const (
	recordHeader    = 5
	recordAlert     = 0x15
	recordHandshake = 0x16
	maxPlaintext    = 16 << 10
	maxCiphertext   = maxPlaintext + 2048
	messageHeader   = 4
	clientHello     = 1
	maxMessage      = 64 << 10
)

// helloNeed returns how many bytes the first handshake message needs, whatever its type and number
// of records. It returns 0 as soon as crypto/tls can answer b.
func helloNeed(b []byte) int {
	need, _ := readHello(b)
	return need
}

// readHello is helloNeed. It also reports whether b has a whole ClientHello.
func readHello(b []byte) (need int, whole bool) {
	var header [messageHeader]byte
	for at, got := 0, 0; ; {
		if len(b) < at+recordHeader {
			return at + recordHeader, false
		}
		kind, version, n := b[at], binary.BigEndian.Uint16(b[at+1:]), int(binary.BigEndian.Uint16(b[at+3:]))
		end := at + recordHeader + n
		switch {
		case kind != recordAlert && kind != recordHandshake, version >= 0x1000, n > maxCiphertext:
			return 0, false
		case len(b) < end:
			return end, false
		}
		data := b[at+recordHeader : end]
		at = end
		switch {
		case kind == recordAlert && n == 2 && data[0] == 1 && data[1] != 0:
			continue // crypto/tls skips warnings, except close_notify
		case kind != recordHandshake || n == 0 || n > maxPlaintext:
			return 0, false
		}
		copy(header[min(got, messageHeader):], data)
		got += n
		if got < messageHeader {
			continue
		}
		if size := int(binary.BigEndian.Uint32(header[:])) & 0xffffff; size > maxMessage || got >= messageHeader+size {
			return 0, size <= maxMessage && header[0] == clientHello
		}
	}
}

// headNeed returns how many bytes are needed of the head of an HTTP/1 request (RFC 9112, section
// 2.1), after any empty lines (section 2.2). It returns 0 as soon as net/http can answer b:
// net/http answers a malformed request line, and a field without a colon, at once.
func headNeed(b []byte) int {
	line, rest, whole := cutLine(b)
	for whole && len(line) == 0 {
		line, rest, whole = cutLine(rest)
	}
	if whole && !isRequestLine(line) {
		return 0
	}
	for whole {
		if line, rest, whole = cutLine(rest); !whole {
			break
		}
		if len(line) == 0 || line[0] != ' ' && line[0] != '\t' && bytes.IndexByte(line, ':') < 0 {
			return 0
		}
	}
	return len(b) + 1
}

// cutLine cuts b after its first line. whole is false if the line has no end yet.
func cutLine(b []byte) (line, rest []byte, whole bool) {
	line, rest, whole = bytes.Cut(b, []byte("\n"))
	return bytes.TrimSuffix(line, []byte("\r")), rest, whole
}

// isRequestLine reports whether net/http reads on after this line.
func isRequestLine(line []byte) bool {
	method, rest, _ := bytes.Cut(line, []byte(" "))
	_, version, _ := bytes.Cut(rest, []byte(" "))
	_, _, ok := http.ParseHTTPVersion(string(version))
	return ok && len(method) > 0 && method[0] > ' '
}
