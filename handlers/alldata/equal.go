package alldata

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// maxCompared is the length of the longest event that is compared by its meaning, which takes many
// times as much memory.
const maxCompared = 1 << 20

// equalJSON reports whether two JSON texts without white space are the same event: the order of
// members and the spelling of strings and numbers do not matter. Long events, and those with half a
// surrogate pair, which is no character, are the same only if their bytes are.
func equalJSON(a, b []byte) bool {
	switch {
	case bytes.Equal(a, b):
		return true
	case len(a) > maxCompared, len(b) > maxCompared, hasLoneSurrogate(a), hasLoneSurrogate(b):
		return false
	}
	x, okX := tree(a)
	y, okY := tree(b)
	return okX && okY && equalValues(x, y)
}

// tree decodes a JSON text. Of members with the same name the last counts.
func tree(text []byte) (v any, ok bool) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	return v, d.Decode(&v) == nil
}

func equalValues(a, b any) bool {
	switch a := a.(type) {
	case map[string]any:
		b, ok := b.(map[string]any)
		return ok && maps.EqualFunc(a, b, equalValues)
	case []any:
		b, ok := b.([]any)
		return ok && slices.EqualFunc(a, b, equalValues)
	case json.Number:
		b, ok := b.(json.Number)
		return ok && (a == b || newDecimal(a.String()) == newDecimal(b.String()))
	}
	return a == b // nil, bool or string, all of which can be compared
}

// decimal is the number 0.DIGITS * 10^exp, without leading or trailing zeros in the digits.
type decimal struct {
	negative bool
	digits   string
	exp      int64
	text     string // the number as written if its exponent is too large; the other fields are zero
}

func newDecimal(text string) decimal {
	mantissa, power, hasPower := strings.Cut(strings.ToLower(text), "e")
	var exp int64
	if hasPower {
		var err error
		if exp, err = strconv.ParseInt(power, 10, 62); err != nil {
			return decimal{text: text}
		}
	}
	mantissa, negative := strings.CutPrefix(mantissa, "-")
	whole, fraction, _ := strings.Cut(mantissa, ".")
	digits := whole + fraction
	exp += int64(len(whole))
	trimmed := strings.TrimLeft(digits, "0")
	exp -= int64(len(digits) - len(trimmed))
	if trimmed = strings.TrimRight(trimmed, "0"); trimmed == "" {
		return decimal{} // also for -0
	}
	return decimal{negative: negative, digits: trimmed, exp: exp}
}

// hasLoneSurrogate reports whether a JSON text has an escape for half a character (RFC 8259,
// section 8.2), which Go's strings cannot hold.
func hasLoneSurrogate(text []byte) bool {
	for {
		at := bytes.IndexByte(text, '\\')
		if at < 0 {
			return false
		}
		unit, n := escaped(text[at:])
		text = text[at+n:]
		if unit < 0xD800 || unit > 0xDFFF {
			continue
		}
		low, n := escaped(text)
		if unit > 0xDBFF || low < 0xDC00 || low > 0xDFFF {
			return true
		}
		text = text[n:]
	}
}

// escaped returns the UTF-16 code unit of the \u escape at the beginning of text, and the length of
// the escape. unit is negative if text begins with another escape.
func escaped(text []byte) (unit, n int) {
	if len(text) < 6 || text[0] != '\\' || text[1] != 'u' {
		return -1, min(2, len(text))
	}
	u, err := strconv.ParseUint(string(text[2:6]), 16, 16)
	if err != nil {
		return -1, 2
	}
	return int(u), 6
}
