package portluck

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"net/http"
	"time"

	"github.com/portluck/portluck/handlers/httpd"
)

// stage is what an undecided connection has to show next. Each stage has a bound of its own, which
// begins with it.
type stage uint8

const (
	stageProxy  stage = iota // its PROXY header
	stageFirst               // its first byte
	stageBehind              // its first byte behind a PROXY header
	stageMore                // more of what tells its protocol, or the rest of its ClientHello
	stageHead                // the rest of the head of its request
	stageLate                // its first byte, after it was silent for SniffTimeout
	stages
)

// stage returns what c has to show next.
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

// patience is the bound of a stage; none if negative.
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

// opening is what a handler waits for before it does anything else. A connection stays undecided,
// and costs no more than that, until its opening is whole, is malformed, or does not fit
// [matchers.Window].
type opening struct {
	// need returns how many bytes in all are needed at least, or 0 if b has the opening or is
	// malformed.
	need  func(b []byte) int
	stage stage // in which a connection is whose opening is not whole
}

var (
	helloOpening = &opening{need: helloNeed, stage: stageMore}
	headOpening  = &opening{need: headNeed, stage: stageHead}
)

// The parts of TLS that a ClientHello is in (RFC 8446, sections 4 and 5; RFC 5246, sections 6.2 and
// 7.4), and the bounds of crypto/tls.
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

// helloNeed is the need of the first handshake message, whatever it is, in however many records. It
// is 0 as soon as crypto/tls has something to say about b.
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
			continue // a warning, but for close_notify, is read over
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

// headNeed is the need of the head of an HTTP/1 request (RFC 9112, section 2.1), with the empty
// lines before it (section 2.2). It is 0 as soon as net/http has something to say about b: it
// answers a malformed request line, and a field without a colon, at once.
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

// cutLine cuts b behind its first line, if that is whole.
func cutLine(b []byte) (line, rest []byte, whole bool) {
	line, rest, whole = bytes.Cut(b, []byte("\n"))
	return bytes.TrimSuffix(line, []byte("\r")), rest, whole
}

// isRequestLine reports whether net/http reads on after line.
func isRequestLine(line []byte) bool {
	method, rest, _ := bytes.Cut(line, []byte(" "))
	_, version, _ := bytes.Cut(rest, []byte(" "))
	_, _, ok := http.ParseHTTPVersion(string(version))
	return ok && len(method) > 0 && method[0] > ' '
}
