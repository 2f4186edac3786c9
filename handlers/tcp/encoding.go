package tcp

import (
	"encoding/base64"
	"fmt"
	"unicode/utf8"
)

// Encoding says what bytes stand for.
type Encoding int

const (
	// Bytes are bytes.
	Bytes Encoding = iota
	// ASCII is a code point a byte: those above 127 are the first 256 of Unicode, as UTF-8.
	ASCII
	// UTF8 is text in UTF-8; what is not valid becomes U+FFFD.
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

// SetEncoding says what OnData gets from then on; Bytes if it is never called. A code point in UTF-8 that comes in two parts
// is told when it is whole, and so is a group of three bytes for Base64: all that OnData gets, one behind the other, is the
// same however the network has cut it. What is left of the stream when it ends comes before OnEnd.
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

// wholeRunes is how much of p does not depend on what follows it.
func wholeRunes(p []byte) int {
	for i := max(0, len(p)-utf8.UTFMax+1); i < len(p); i++ {
		if utf8.RuneStart(p[i]) && !utf8.FullRune(p[i:]) {
			return i
		}
	}
	return len(p)
}

// validUTF8 is p with U+FFFD for each byte that is not part of a code point.
func validUTF8(p []byte) []byte {
	if utf8.Valid(p) {
		return p
	}
	return []byte(string([]rune(string(p))))
}
