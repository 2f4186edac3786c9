package tcp

import (
	"encoding/base64"
	"fmt"
	"math/bits"
	"unicode/utf8"
)

// An Encoding is a way to write the bytes of a stream as text.
type Encoding int

const (
	// Bytes leaves the bytes as they are.
	Bytes Encoding = iota
	// ASCII has one code point for each byte, U+0000 to U+00FF, as Node's "binary" has (Latin-1).
	ASCII
	// UTF8 is text in UTF-8. Invalid bytes become U+FFFD, one for each beginning of a code point
	// that is not completed, as in the WHATWG's Encoding Standard and in Node.
	UTF8
	// Base64 is standard base64, with padding at the end of the stream only.
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

// SetEncoding sets the encoding in which OnData gets the bytes that follow; it is Bytes until then.
// A code point of UTF-8 that arrives in parts is kept until it is whole, and so are the three bytes
// of a group of Base64. Thus the texts that OnData gets, joined, do not depend on how the network
// cuts the stream. OnData gets what is still incomplete at the end of the stream before OnEnd.
func (s *Stream) SetEncoding(e Encoding) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.rare != nil && s.rare.text != nil:
		s.rare.text.encoding = e // also of the bytes that are kept
	case e != Bytes:
		s.rareLocked().text = &decoder{encoding: e}
	}
}

// bytes returns the bytes that text encodes.
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

// decoder turns the bytes that arrive into text. It keeps an incomplete code point or group.
type decoder struct {
	encoding Encoding
	kept     [utf8.UTFMax]byte
	n        int // bytes in kept
}

// decode returns the text of the kept bytes and p, and keeps what is incomplete at the end.
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

// flush returns the text of the kept bytes.
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

// wholeRunes returns the length of p without an incomplete code point at its end. As in Node's
// StringDecoder a first byte of a code point is incomplete until as many bytes have come as it
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

// validUTF8 returns p with U+FFFD in place of each maximal subpart of an invalid sequence, as in
// the WHATWG's Encoding Standard and in Node. A maximal subpart is the longest beginning of a code
// point that the next byte does not continue, or else one byte.
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
