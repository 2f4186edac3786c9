package portluck

import (
	"net/http"
	"strconv"
	"strings"
)

// accepts reports whether r names the media type in Accept and prefers it, or likes it as much as,
// other (RFC 9110, sections 12.4.2 and 12.5.1).
func accepts(r *http.Request, mediaType, other string) bool {
	q, named := quality(r.Header["Accept"], mediaType)
	least, _ := quality(r.Header["Accept"], other)
	return named && q > 0 && q >= least
}

// quality returns the weight of the most specific range in accept that matches mediaType, and
// whether that range names it. A range with parameters counts only if there is none without, as
// the type may not have them. Ranges with an invalid weight or an unclosed quotation are skipped.
func quality(accept []string, mediaType string) (q float64, named bool) {
	kind, _, _ := strings.Cut(mediaType, "/")
	best := 0
	for _, line := range accept {
		for line != "" {
			var one string
			one, line = cutOutside(line, ',')
			name, params := cutOutside(one, ';')
			weight, plain, ok := weightOf(params)
			specific := 0
			switch name = strings.ToLower(strings.TrimSpace(name)); name {
			case mediaType:
				specific = 5
			case kind + "/*":
				specific = 3
			case "*/*":
				specific = 1
			}
			if plain && specific > 0 {
				specific++
			}
			if ok && specific > 0 && (specific > best || specific == best && weight > q) {
				best, q = specific, weight
			}
		}
	}
	return q, best >= 5
}

// weightOf returns the weight among the parameters of a media range, or 1 if there is none. plain
// reports whether no other parameter precedes it. ok is false if the weight is invalid.
func weightOf(params string) (q float64, plain, ok bool) {
	plain = true
	for params != "" {
		var one string
		one, params = cutOutside(params, ';')
		name, value, _ := strings.Cut(one, "=")
		if name = strings.TrimSpace(name); !strings.EqualFold(name, "q") {
			plain = plain && name == ""
			continue
		}
		value = strings.TrimSpace(value)
		whole, digits, _ := strings.Cut(value, ".")
		q, err := strconv.ParseFloat(value, 64)
		if err != nil || q > 1 || whole != "0" && whole != "1" || len(digits) > 3 || strings.Trim(digits, "0123456789") != "" {
			return 0, plain, false
		}
		return q, plain, true
	}
	return 1, plain, true
}

// cutOutside is [strings.Cut] at sep outside of quoted strings (RFC 9110, section 5.6.4).
func cutOutside(s string, sep byte) (before, after string) {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch {
		case quoted && s[i] == '\\':
			i++
		case s[i] == '"':
			quoted = !quoted
		case s[i] == sep && !quoted:
			return s[:i], s[i+1:]
		}
	}
	return s, ""
}
