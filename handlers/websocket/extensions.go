package websocket

import (
	"strconv"
	"strings"
)

// Sizes of LZ77 windows as powers of two (RFC 7692, section 7.1.2).
const (
	minWindow = 8
	maxWindow = 15
)

// offer is a client's offer of permessage-deflate.
type offer struct {
	window uint8 // for what we send; 0 if the offer cannot be accepted
	asked  bool  // the offer names that window
	anew   bool  // the client begins each message without context
	bits   uint8 // the client's own window; 0 if the offer does not name it
}

// negotiate accepts the first offer of permessage-deflate that it can, and returns the answer (RFC
// 7692, sections 5.1 and 7.1). It passes over an offer that is malformed or has an unknown
// parameter. window is 0 if there is no other. What we send refers to nothing before its message,
// nor to more than 1<<window bytes back. Unless keep is set, the answer asks the client for the
// same, so that an idle client costs no memory. Otherwise keeps is the window that the client may
// use across messages; 0 if it does not.
func negotiate(lines []string, keep bool) (answer string, window, keeps uint8) {
	for _, line := range lines {
		for _, one := range splitList(line, ',') {
			o := parseOffer(splitList(one, ';'))
			if o.window == 0 {
				continue
			}
			answer := "permessage-deflate; server_no_context_takeover"
			switch {
			case !keep || o.anew:
				answer += "; client_no_context_takeover"
			case o.bits > 0:
				answer += "; client_max_window_bits=" + strconv.Itoa(int(o.bits))
				keeps = max(o.bits, minWindow+1) // zlib uses 9 if asked for 8
			default:
				keeps = maxWindow
			}
			if o.asked { // the answer must then have one too: section 7.1.2.1
				answer += "; server_max_window_bits=" + strconv.Itoa(int(o.window))
			}
			return answer, o.window, keeps
		}
	}
	return "", 0, 0
}

// parseOffer parses the elements of an offer. The window is 0 if the offer cannot be accepted.
func parseOffer(elements []string) (o offer) {
	const ours = "permessage-deflate"
	// Non-ASCII letters that fold to ASCII are longer.
	if name := elements[0]; len(name) != len(ours) || !strings.EqualFold(name, ours) {
		return offer{}
	}
	o.window = maxWindow
	seen := map[string]bool{}
	for _, param := range elements[1:] {
		name, value, valued := strings.Cut(param, "=")
		if name = trim(name); seen[name] {
			return offer{}
		}
		seen[name] = true
		bits := windowOf(trim(value))
		ok := false
		switch name {
		case "server_no_context_takeover":
			ok = !valued
		case "client_no_context_takeover":
			ok, o.anew = !valued, true
		case "server_max_window_bits":
			ok, o.window, o.asked = bits > 0, bits, true
		case "client_max_window_bits": // we can decompress with any window
			ok, o.bits = !valued || bits > 0, bits
		}
		if !ok {
			return offer{}
		}
	}
	return o
}

// windowOf parses a decimal number from 8 to 15, perhaps in quotes. It returns 0 for anything else.
func windowOf(s string) uint8 {
	s = unquote(s)
	n, err := strconv.ParseUint(s, 10, 8)
	if err != nil || n < minWindow || n > maxWindow || s[0] == '0' {
		return 0
	}
	return uint8(n)
}

// unquote returns the text of the quoted string s (RFC 9110, section 5.6.4), or s if it has no
// quotes.
func unquote(s string) string {
	if len(s) < 2 || s[0] != '"' || s[len(s)-1] != '"' {
		return s
	}
	var b []byte
	for s = s[1 : len(s)-1]; s != ""; s = s[1:] {
		if s[0] == '\\' && len(s) > 1 {
			s = s[1:]
		}
		b = append(b, s[0])
	}
	return string(b)
}

// trim trims the white space of fields (RFC 9110, section 5.6.3).
func trim(s string) string { return strings.Trim(s, " \t") }

// splitList splits s at each sep that is not in a quoted string, and trims the elements.
func splitList(s string, sep byte) (all []string) {
	quoted, start := false, 0
	for i := 0; i <= len(s); i++ {
		switch {
		case i == len(s) || s[i] == sep && !quoted:
			all = append(all, trim(s[start:i]))
			start = i + 1
		case s[i] == '"':
			quoted = !quoted
		case s[i] == '\\' && quoted:
			i = min(i+1, len(s)-1)
		}
	}
	return all
}
