package websocket

import "unicode/utf8"

// utf8State checks text that arrives in pieces (RFC 3629, section 4). It finds a mistake as soon as
// the first wrong byte has arrived. The zero value is the beginning of a text.
type utf8State struct {
	need   uint8 // bytes that the code point still needs
	lo, hi uint8 // bounds of the next byte
}

// feed reports whether b may follow the pieces before. It checks the incomplete code points at both
// ends of b itself, and the rest with utf8.Valid, which takes ASCII eight bytes at a time.
func (s *utf8State) feed(b []byte) bool {
	for ; s.need > 0 && len(b) > 0; b = b[1:] {
		if b[0] < s.lo || b[0] > s.hi {
			return false
		}
		s.need, s.lo, s.hi = s.need-1, 0x80, 0xbf
	}
	whole := len(b) - unfinished(b)
	if !utf8.Valid(b[:whole]) {
		return false
	}
	for i, c := range b[whole:] {
		if i == 0 {
			s.begin(c)
			continue
		}
		s.need, s.lo, s.hi = s.need-1, 0x80, 0xbf
	}
	return true
}

// unfinished returns how many bytes at the end of b are the beginning of a longer code point.
func unfinished(b []byte) int {
	for n := range min(utf8.UTFMax, len(b)) {
		tail := b[len(b)-n-1:]
		if utf8.RuneStart(tail[0]) {
			if utf8.FullRune(tail) {
				return 0
			}
			return len(tail)
		}
	}
	return 0
}

// begin takes the first byte of a code point of several bytes. c is valid.
func (s *utf8State) begin(c byte) {
	s.lo, s.hi = 0x80, 0xbf
	switch {
	case c < 0xe0:
		s.need = 1
	case c < 0xf0:
		s.need = 2
	default:
		s.need = 3
	}
	switch c {
	case 0xe0:
		s.lo = 0xa0
	case 0xed:
		s.hi = 0x9f
	case 0xf0:
		s.lo = 0x90
	case 0xf4:
		s.hi = 0x8f
	}
}

// end reports whether the text is complete, and resets s.
func (s *utf8State) end() bool {
	whole := s.need == 0
	*s = utf8State{}
	return whole
}
