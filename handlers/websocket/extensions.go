package websocket

import (
	"strconv"
	"strings"
)

// Windows of LZ77 as powers of two (RFC 7692, section 7.1.2).
const (
	minWindow = 8
	maxWindow = 15
)

// negotiate chooses the first offer of permessage-deflate that can be met, and answers it (RFC 7692, sections 5.1 and 7.1).
// What we send then refers to nothing before the message, nor to more than 1<<window bytes back; the client is asked to
// keep no context either: an idle client costs no window on either side. The window is 0 if there is no such offer; an
// offer that is malformed, or has a parameter that the RFC does not know, is passed over.
func negotiate(lines []string) (answer string, window uint8) {
	for _, line := range lines {
		for _, offer := range splitList(line, ',') {
			if window, asked := acceptable(splitList(offer, ';')); window > 0 {
				answer := "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
				if asked { // an offer with a window is accepted only by an answer with one: section 7.1.2.1
					answer += "; server_max_window_bits=" + strconv.Itoa(int(window))
				}
				return answer, window
			}
		}
	}
	return "", 0
}

// acceptable returns the window of what we send, 0 if the offer cannot be met, and whether the offer
// asks for that window.
func acceptable(offer []string) (window uint8, asked bool) {
	if len(offer) == 0 || !strings.EqualFold(offer[0], "permessage-deflate") {
		return 0, false
	}
	window = maxWindow
	seen := map[string]bool{}
	for _, param := range offer[1:] {
		name, value, valued := strings.Cut(param, "=")
		if name = strings.TrimSpace(name); seen[name] {
			return 0, false
		}
		seen[name] = true
		bits := windowOf(strings.TrimSpace(value))
		switch name {
		case "server_no_context_takeover", "client_no_context_takeover":
			if valued {
				return 0, false
			}
		case "server_max_window_bits":
			if bits == 0 {
				return 0, false
			}
			window, asked = bits, true
		case "client_max_window_bits": // the client may use it; we can take any
			if valued && bits == 0 {
				return 0, false
			}
		default:
			return 0, false
		}
	}
	return window, asked
}

// windowOf is a decimal number from 8 to 15, which may stand in quotes; else 0.
func windowOf(s string) uint8 {
	if n := len(s); n > 1 && s[0] == '"' && s[n-1] == '"' {
		s = s[1 : n-1]
	}
	n, err := strconv.ParseUint(s, 10, 8)
	if err != nil || n < minWindow || n > maxWindow || s[0] == '0' {
		return 0
	}
	return uint8(n)
}

// splitList is the elements of s between separators that are in no quoted string.
func splitList(s string, sep byte) (all []string) {
	quoted, start := false, 0
	for i := 0; i <= len(s); i++ {
		switch {
		case i == len(s) || s[i] == sep && !quoted:
			all = append(all, strings.TrimSpace(s[start:i]))
			start = i + 1
		case s[i] == '"':
			quoted = !quoted
		case s[i] == '\\' && quoted:
			i = min(i+1, len(s)-1)
		}
	}
	return all
}
