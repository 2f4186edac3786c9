package websocket

import "unicode/utf8"

// utf8State checks text that comes in pieces, and says that it is wrong as soon as that is certain (RFC 3629, section 4).
// Its zero value is the beginning.
type utf8State struct {
	need   uint8 // bytes that the code point still needs
	lo, hi uint8 // bounds of the next of them
}

// feed says whether b may follow what came before.
func (s *utf8State) feed(b []byte) bool {
	if s.need == 0 && utf8.Valid(b) {
		return true
	}
	for _, c := range b {
		switch {
		case s.need == 0 && c < utf8.RuneSelf:
		case s.need == 0:
			if !s.begin(c) {
				return false
			}
		case c < s.lo || c > s.hi:
			return false
		default:
			s.need, s.lo, s.hi = s.need-1, 0x80, 0xbf
		}
	}
	return true
}

// begin takes the first byte of a code point of several.
func (s *utf8State) begin(c byte) bool {
	s.lo, s.hi = 0x80, 0xbf
	switch {
	case 0xc2 <= c && c <= 0xdf:
		s.need = 1
	case 0xe0 <= c && c <= 0xef:
		s.need = 2
	case 0xf0 <= c && c <= 0xf4:
		s.need = 3
	default:
		return false
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
	return true
}

// end says whether the text is whole, and begins anew.
func (s *utf8State) end() bool {
	whole := s.need == 0
	*s = utf8State{}
	return whole
}
