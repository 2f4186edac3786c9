package matchers

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
)

// TLS matches a ClientHello (RFC 8446, section 4.1.2; RFC 5246, section 7.4.1.2). It decides by
// the first 11 bytes, whose types, versions and lengths must be consistent.
func TLS() Matcher {
	return builtin(func(h Hello) Verdict { return beginsHello(h, h.Bytes) })
}

// SNI matches a ClientHello that names one of these servers (RFC 6066, section 3), in any case. In
// *.example.com the star stands for exactly one label. Write internationalized names in their xn--
// form, as clients send them. Without names SNI matches nothing. It panics if a name is not a host
// name.
func SNI(names ...string) Matcher {
	for _, name := range names {
		if !isHostName(strings.TrimPrefix(name, "*.")) {
			panic(fmt.Sprintf("matchers: SNI: %q is no name of a host, such as example.com or *.example.com", name))
		}
	}
	names = slices.Clone(names)
	return helloMatcher(func(c *clientHello) bool {
		for _, name := range names {
			if matchName(c.serverName, name) {
				return true
			}
		}
		return false
	})
}

// ALPN matches a ClientHello that offers one of these protocols (RFC 7301, section 3.1). Without
// protocols it matches nothing. It panics if an id is empty or longer than 255 bytes.
func ALPN(ids ...string) Matcher {
	for _, id := range ids {
		if len(id) == 0 || len(id) > 255 {
			panic(fmt.Sprintf("matchers: ALPN: %q: a protocol has 1 to 255 bytes", id))
		}
	}
	ids = slices.Clone(ids)
	return helloMatcher(func(c *clientHello) bool {
		for list := c.alpn; len(list) > 0; {
			n := int(list[0])
			if n+1 > len(list) {
				return false
			}
			if slices.ContainsFunc(ids, func(id string) bool { return string(list[1:1+n]) == id }) {
				return true
			}
			list = list[1+n:]
		}
		return false
	})
}

// TLSVersion matches a ClientHello that supports one of these versions, such as
// [crypto/tls.VersionTLS13]. The supported versions are those of the supported_versions extension
// (RFC 8446, section 4.2.1); without it, every version up to the legacy version. Without versions
// TLSVersion matches nothing. It panics if one is not a TLS version.
func TLSVersion(versions ...uint16) Matcher {
	for _, v := range versions {
		if v>>8 != 3 && v>>8 != 0x7f { // 0x7f is the high byte of the drafts of TLS 1.3
			panic(fmt.Sprintf("matchers: TLSVersion: %#04x is no version of TLS, such as tls.VersionTLS13", v))
		}
	}
	versions = slices.Clone(versions)
	return helloMatcher(func(c *clientHello) bool {
		for _, v := range versions {
			if c.supports(v) {
				return true
			}
		}
		return false
	})
}

// helloMatcher returns a matcher that waits for a whole ClientHello and asks fits about it.
func helloMatcher(fits func(c *clientHello) bool) Matcher {
	return builtin(func(h Hello) Verdict {
		if v := beginsHello(h, h.Bytes); v != Yes {
			return v
		}
		body, need := helloBody(h.Bytes)
		if need > 0 && len(h.Bytes) < Window {
			return more(h, min(need, Window))
		}
		var c clientHello
		if c.parse(body) && fits(&c) {
			return Yes
		}
		return No
	})
}

// The parts of a TLS record and of a handshake message.
const (
	recordHeader    = 5
	handshakeHeader = 4
	recordHandshake = 0x16
	typeClientHello = 1
	maxRecord       = 16 << 10
)

// beginsHello returns the verdict on the first bytes of a ClientHello.
func beginsHello(h Hello, b []byte) Verdict {
	for i, c := range b[:min(len(b), recordHeader+handshakeHeader+2)] {
		if !fitsHello(b, i, c) {
			return No
		}
	}
	if len(b) < recordHeader+handshakeHeader+2 {
		return more(h, len(b)+1)
	}
	return Yes
}

// fitsHello reports whether byte c can stand at i of a ClientHello that begins with b[:i].
func fitsHello(b []byte, i int, c byte) bool {
	switch i {
	case 0:
		return c == recordHandshake
	case 1, 9:
		return c == 3
	case 2, 10:
		return c <= 4
	case 4:
		n := int(b[3])<<8 | int(c)
		return n > 0 && n <= maxRecord
	case 5:
		return c == typeClientHello
	case 6:
		return c == 0
	case 8: // the smallest ClientHello has 41 bytes; a record has the whole of it, or only a part
		record, hello := int(b[3])<<8|int(b[4]), int(b[7])<<8|int(c)
		return hello >= 41 && record <= handshakeHeader+hello
	}
	return true
}

// clientHello holds the fields that matchers use. Its slices point into the parsed bytes.
type clientHello struct {
	version     uint16 // the legacy version
	serverName  []byte
	alpn        []byte // list of protocols
	versions    []byte // list of supported versions
	hasVersions bool
}

// helloBody returns the body of the ClientHello in b, whose first bytes beginsHello has accepted.
// While bytes are missing it returns the total number needed. It returns nil and 0 if b holds
// something else.
func helloBody(b []byte) (body []byte, need int) {
	record := int(binary.BigEndian.Uint16(b[3:]))
	size := handshakeHeader + int(b[6])<<16 + int(b[7])<<8 + int(b[8])
	if size > record {
		return splitBody(b, size)
	}
	if total := recordHeader + size; len(b) < total {
		return nil, total
	}
	return b[recordHeader+handshakeHeader : recordHeader+size], 0
}

// splitBody is helloBody for a ClientHello of size bytes that is split over several records.
func splitBody(b []byte, size int) (body []byte, need int) {
	if size > Window {
		return nil, 0
	}
	end := 0
	for n := 0; n < size; {
		if len(b) < end+recordHeader {
			return nil, end + recordHeader
		}
		record := int(binary.BigEndian.Uint16(b[end+3:]))
		if b[end] != recordHandshake || record == 0 || record > maxRecord {
			return nil, 0
		}
		n += record
		if end += recordHeader + record; len(b) < end {
			return nil, end
		}
	}
	whole := make([]byte, 0, end)
	for b = b[:end]; len(b) > 0; {
		record := recordHeader + int(binary.BigEndian.Uint16(b[3:]))
		whole = append(whole, b[recordHeader:record]...)
		b = b[record:]
	}
	return whole[handshakeHeader:size], 0
}

// parse reads the body of a ClientHello and reports whether it is well formed.
func (c *clientHello) parse(b []byte) bool {
	r := reader{b: b}
	c.version = r.uint16()
	r.bytes(32) // random
	r.vector(1) // session id
	r.vector(2) // cipher suites
	r.vector(1) // compression methods
	if len(r.b) == 0 {
		return !r.bad
	}
	extensions := reader{b: r.vector(2)}
	for len(extensions.b) > 0 {
		id := extensions.uint16()
		c.extension(id, reader{b: extensions.vector(2)})
	}
	return !r.bad && !extensions.bad
}

func (c *clientHello) extension(id uint16, r reader) {
	switch id {
	case 0: // server_name
		names := reader{b: r.vector(2)}
		for len(names.b) > 0 {
			if kind, name := names.uint8(), names.vector(2); kind == 0 {
				c.serverName = name
			}
		}
	case 16: // application_layer_protocol_negotiation
		c.alpn = r.vector(2)
	case 43: // supported_versions
		c.versions, c.hasVersions = r.vector(1), true
	}
}

func (c *clientHello) supports(v uint16) bool {
	if !c.hasVersions {
		return v <= c.version && v <= 0x0303
	}
	for list := c.versions; len(list) >= 2; list = list[2:] {
		if binary.BigEndian.Uint16(list) == v {
			return true
		}
	}
	return false
}

// matchName reports whether name, in any case, matches pattern.
func matchName(name []byte, pattern string) bool {
	if rest, ok := strings.CutPrefix(pattern, "*."); ok {
		dot := bytes.IndexByte(name, '.')
		if dot <= 0 {
			return false
		}
		name, pattern = name[dot+1:], rest
	}
	return len(name) == len(pattern) && hasPrefixFold(name, pattern) && len(name) > 0
}

// isHostName reports whether a client can send name as a server name: labels of letters, digits, -
// and _, without a trailing dot (RFC 6066, section 3; RFC 1123, section 2.1).
func isHostName(name string) bool {
	if len(name) > 253 {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if len(label) == 0 || len(label) > 63 || strings.ContainsFunc(label, isNoHostRune) {
			return false
		}
	}
	return true
}

func isNoHostRune(c rune) bool {
	return (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') && c != '-' && c != '_'
}

// reader reads numbers and vectors (RFC 8446, section 3). bad is set once the input was too short.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) bytes(n int) []byte {
	if n > len(r.b) {
		r.bad, r.b = true, nil
		return nil
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}

func (r *reader) uint8() uint8 {
	if b := r.bytes(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) uint16() uint16 {
	if b := r.bytes(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

// vector reads a vector with a length prefix of size bytes.
func (r *reader) vector(size int) []byte {
	if size == 1 {
		return r.bytes(int(r.uint8()))
	}
	return r.bytes(int(r.uint16()))
}
