package tcp

import (
	"encoding/base64"
	"fmt"
	"math/bits"
	"unicode/utf8"
)

// Encoding says what bytes stand for.
type Encoding int

const (
	// Bytes are bytes.
	Bytes Encoding = iota
	// ASCII is a code point a byte: those above 127 are the first 256 of Unicode, as UTF-8.
	ASCII
	// UTF8 is text in UTF-8. What is not valid becomes U+FFFD, as often as the WHATWG's Encoding
	// Standard and Node have it: once for the beginning of a code point that is not completed.
	UTF8
	// Base64 is standard base64, with padding at its end only.
	Base64
)

// String returns "bytes", "ascii", "utf8" or "base64".
func (e Encoding) String() string {
	switch e {
	case ASCII:
		return "ascii"
	case UTF8:
		return "utf8"
	case Base64:
		return "base64"
	}
	return "bytes"
}

// SetEncoding says what OnData gets from then on; Bytes if it is never called. A code point in
// UTF-8 that comes in two parts is told when it is whole, and so is a group of three bytes for
// Base64: all that OnData gets, one behind the other, is the same however the network has cut it.
// What is left of the stream when it ends comes before OnEnd.
func (s *Stream) SetEncoding(e Encoding) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.rare != nil && s.rare.text != nil:
		s.rare.text.encoding = e // what is kept is told as that
	case e != Bytes:
		s.rareLocked().text = &decoder{encoding: e}
	}
}

// bytes are what text stands for.
func (e Encoding) bytes(text string) ([]byte, error) {
	switch e {
	case ASCII:
		p := make([]byte, 0, len(text))
		for _, r := range text {
			p = append(p, byte(r))
		}
		return p, nil
	case Base64:
		p, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return nil, fmt.Errorf("text is not base64: %w", err)
		}
		return p, nil
	}
	return []byte(text), nil
}

// decoder makes text of what comes. It keeps what is not whole.
type decoder struct {
	encoding Encoding
	kept     [utf8.UTFMax]byte
	n        int // bytes in kept
}

// decode returns the text of what was kept and p, as far as it is whole.
func (d *decoder) decode(p []byte) []byte {
	if d.n > 0 {
		p = append(append([]byte(nil), d.kept[:d.n]...), p...)
		d.n = 0
	}
	switch d.encoding {
	case ASCII:
		return appendASCII(make([]byte, 0, len(p)), p)
	case UTF8:
		whole := wholeRunes(p)
		d.n = copy(d.kept[:], p[whole:])
		return validUTF8(p[:whole])
	case Base64:
		whole := len(p) - len(p)%3
		d.n = copy(d.kept[:], p[whole:])
		return base64.StdEncoding.AppendEncode(nil, p[:whole])
	}
	return p
}

// flush returns the text of what was kept.
func (d *decoder) flush() []byte {
	p := d.kept[:d.n]
	d.n = 0
	switch d.encoding {
	case ASCII:
		return appendASCII(nil, p)
	case UTF8:
		return validUTF8(p)
	case Base64:
		return base64.StdEncoding.AppendEncode(nil, p)
	}
	return p
}

func appendASCII(dst, p []byte) []byte {
	for _, c := range p {
		dst = utf8.AppendRune(dst, rune(c))
	}
	return dst
}

// wholeRunes returns the length of the part of p that can be told now. As Node's StringDecoder
// does, it keeps a first byte of a code point at the end until as many bytes have come as it
// announces, or one that does not continue it.
func wholeRunes(p []byte) int {
	for n := 1; n <= min(len(p), utf8.UTFMax-1); n++ {
		lead := p[len(p)-n]
		if !utf8.RuneStart(lead) {
			continue
		}
		if size := bits.LeadingZeros8(^lead); size <= utf8.UTFMax && size > n {
			return len(p) - n
		}
		break
	}
	return len(p)
}

// validUTF8 returns p with U+FFFD for each maximal subpart of what is not UTF-8, as the WHATWG's
// Encoding Standard and Node have it: bytes that begin a code point, and the one that rules it out
// begins the next, or else one byte.
func validUTF8(p []byte) []byte {
	if utf8.Valid(p) {
		return p
	}
	text := make([]byte, 0, len(p)+2*utf8.UTFMax)
	for len(p) > 0 {
		r, n := utf8.DecodeRune(p)
		for r == utf8.RuneError && n < len(p) && !utf8.FullRune(p[:n+1]) {
			n++
		}
		text = utf8.AppendRune(text, r)
		p = p[n:]
	}
	return text
}
