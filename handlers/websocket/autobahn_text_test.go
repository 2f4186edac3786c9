package websocket

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/portluck/portluck/handlers"
)

const (
	greek     = "κ\u1f79σμε" // the accent is the polytonic one, of three bytes
	surrogate = "\xed\xa0\x80"
	beyond    = "\xf4\x90\x80\x80"
)

// textCases returns the cases of section 6: fragments, then one frame for each of texts.
func textCases() []frameCase {
	const mu = "Hello-µ@ßöäüàá-UTF-8!!"
	valid := func(s string) []string { return []string{"text " + s, "close 1000"} }
	fails := []string{"close 1007"}
	invalid := handlers.ErrInvalidText
	all := []frameCase{
		{"6.1.1", frame(text, true, "") + normal, valid(""), nil},
		{"6.1.2", frame(text, false, "") + frame(cont, false, "") + frame(cont, true, "") + normal, valid(""), nil},
		{"6.1.3", frame(text, false, "") + frame(cont, false, "middle") + frame(cont, true, "") + normal, valid("middle"), nil},
		{"6.2.1", frame(text, true, mu) + normal, valid(mu), nil},
		{"6.2.2", frame(text, false, mu[:12]) + frame(cont, true, mu[12:]) + normal, valid(mu), nil},
		{"6.2.3", split(text, mu, 1) + normal, valid(mu), nil},
		{"6.2.4", split(text, greek, 1) + normal, valid(greek), nil},
		{"6.3.1", frame(text, true, greek+surrogate+"edited"), fails, invalid},
		{"6.3.2", split(text, greek+surrogate+"edited", 1), fails, invalid},
		{"6.4.1", frame(text, false, greek) + frame(cont, false, beyond) + frame(cont, true, "edited"), fails, invalid},
		{"6.4.2", frame(text, false, greek+"\xf4") + frame(cont, false, "\x90") + frame(cont, true, "\x80\x80edited"), fails, invalid},
		{"6.4.3", frame(text, true, greek+beyond+"edited"), fails, invalid},
		{"6.4.4", frame(text, true, greek+beyond+"edited"), fails, invalid},
	}
	for i, group := range texts() {
		for j, s := range group {
			c := frameCase{fmt.Sprintf("6.%d.%d", i+5, j+1), frame(text, true, s), fails, invalid}
			if utf8.ValidString(s) {
				c.in, c.want, c.err = c.in+normal, valid(s), nil
			}
			all = append(all, c)
		}
	}
	return all
}

// texts returns the texts of 6.5 to 6.23, most of which are from Markus Kuhn's UTF-8-test.txt.
func texts() [][]string {
	var prefixes, starts, nonCharacters, specials []string
	for i := range len(greek) {
		prefixes = append(prefixes, greek[:i+1])
	}
	for _, r := range [][2]byte{{0xc0, 0xdf}, {0xe0, 0xef}, {0xf0, 0xf7}, {0xf8, 0xfb}, {0xfc, 0xfd}} {
		var s []byte
		for c := r[0]; c < r[1]; c++ {
			s = append(s, c, ' ')
		}
		starts = append(starts, string(s))
	}
	var continuations []byte
	for c := byte(0x80); c < 0xbf; c++ {
		continuations = append(continuations, c)
	}
	for plane := range rune(17) {
		nonCharacters = append(nonCharacters, string(plane<<16|0xfffe), string(plane<<16|0xffff))
	}
	for r := rune(0xfff9); r <= 0xffff; r++ {
		specials = append(specials, string(r))
	}
	cutShort := []string{
		"\xc0", "\xe0\x80", "\xf0\x80\x80", "\xf8\x80\x80\x80", "\xfc\x80\x80\x80\x80",
		"\xdf", "\xef\xbf", "\xf7\xbf\xbf", "\xfb\xbf\xbf\xbf", "\xfd\xbf\xbf\xbf\xbf",
	}
	return [][]string{
		{"hello$world", "hello¢world", "hello€world", "hello\U00024b62world", greek},
		prefixes,
		{"\x00", "\xc2\x80", "\xe0\xa0\x80", "\xf0\x90\x80\x80"},
		{"\xf8\x88\x80\x80\x80", "\xfc\x84\x80\x80\x80\x80"},
		{"\x7f", "\xdf\xbf", "\xef\xbf\xbf", "\xf4\x8f\xbf\xbf"},
		{"\xf7\xbf\xbf\xbf", "\xfb\xbf\xbf\xbf\xbf", "\xfd\xbf\xbf\xbf\xbf\xbf"},
		{"\xed\x9f\xbf", "\xee\x80\x80", "\xef\xbf\xbd", "\xf4\x8f\xbf\xbf", beyond},
		{
			"\x80", "\xbf", "\x80\xbf", "\x80\xbf\x80", "\x80\xbf\x80\xbf", "\x80\xbf\x80\xbf\x80", "\x80\xbf\x80\xbf\x80\xbf",
			string(continuations),
		},
		starts,
		cutShort,
		{strings.Join(cutShort, "")},
		{"\xfe", "\xff", "\xfe\xfe\xff\xff"},
		{"\xc0\xaf", "\xe0\x80\xaf", "\xf0\x80\x80\xaf", "\xf8\x80\x80\x80\xaf", "\xfc\x80\x80\x80\x80\xaf"},
		{"\xc1\xbf", "\xe0\x9f\xbf", "\xf0\x8f\xbf\xbf", "\xf8\x87\xbf\xbf\xbf", "\xfc\x83\xbf\xbf\xbf\xbf"},
		{"\xc0\x80", "\xe0\x80\x80", "\xf0\x80\x80\x80", "\xf8\x80\x80\x80\x80", "\xfc\x80\x80\x80\x80\x80"},
		{surrogate, "\xed\xad\xbf", "\xed\xae\x80", "\xed\xaf\xbf", "\xed\xb0\x80", "\xed\xbe\x80", "\xed\xbf\xbf"},
		{
			"\xed\xa0\x80\xed\xb0\x80", "\xed\xa0\x80\xed\xbf\xbf", "\xed\xad\xbf\xed\xb0\x80", "\xed\xad\xbf\xed\xbf\xbf",
			"\xed\xae\x80\xed\xb0\x80", "\xed\xae\x80\xed\xbf\xbf", "\xed\xaf\xbf\xed\xb0\x80", "\xed\xaf\xbf\xed\xbf\xbf",
		},
		nonCharacters,
		specials,
	}
}

// viable reports whether any valid text begins with s. It tries what could follow.
func viable(s string) bool {
	ends := []string{""}
	for range utf8.UTFMax {
		var longer []string
		for _, end := range ends {
			if utf8.ValidString(s + end) {
				return true
			}
			for _, c := range []string{"\x80", "\x90", "\xa0", "\xbf"} {
				longer = append(longer, end+c)
			}
		}
		ends = longer
	}
	return false
}

// failsAt returns the number of leading bytes of s with which no valid text begins; -1 if s is
// viable.
func failsAt(s string) int {
	for n := range len(s) + 1 {
		if !viable(s[:n]) {
			return n
		}
	}
	return -1
}

// A text is refused at the byte that makes it invalid, whatever frames it comes in, and no earlier:
// TRAPS part 4, row 18, and 6.4.3 and 6.4.4 of Autobahn.
func TestTraps4Row18FailFast(t *testing.T) {
	all := []string{
		"good \xff and a lot that never comes", greek + beyond + "edited", greek + "\xed" + "edited", strings.Repeat("κ", 50) + "\xe0\x9f",
	}
	for _, group := range texts() {
		all = append(all, group...)
	}
	for _, s := range all {
		want := failsAt(s)
		for name, frames := range map[string][]string{"one frame": {frame(text, true, s+"more")}, "a frame a byte": single(s + "m")} {
			d, payload := &driver{codec: (&Handler{}).frames(0)}, 0
			for _, f := range frames {
				for i := range len(f) {
					if i >= 6 { // the header
						payload++
					}
					if d.turn([]byte(f[i:i+1]), false); d.err != nil {
						break
					}
				}
				if d.err != nil {
					break
				}
			}
			if want < 0 { // s is viable, so "m" as the next byte may be invalid
				want = failsAt(s + "m")
			}
			switch {
			case want < 0 && d.err != nil, want >= 0 && payload != want, want >= 0 && !errors.Is(d.err, handlers.ErrInvalidText):
				t.Errorf("%q in %s: %v after %d bytes, want %d", s, name, d.err, payload, want)
			}
		}
	}
}

// single returns s in frames of one byte, with another one to follow.
func single(s string) (frames []string) {
	op := text
	for i := range len(s) {
		frames = append(frames, frame(op, false, s[i:i+1]))
		op = cont
	}
	return frames
}

// The state of a text does not affect the next text.
func TestTextState(t *testing.T) {
	// One byte of each class that the table of RFC 3629 distinguishes.
	classes := []byte{0x00, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc1, 0xc2, 0xdf, 0xe0, 0xe1, 0xec, 0xed, 0xee, 0xef, 0xf0, 0xf1, 0xf3, 0xf4, 0xf5, 0xff}
	var try func(s []byte, left int)
	try = func(s []byte, left int) {
		want := viable(string(s))
		for cut := range len(s) + 1 {
			var state utf8State
			if got := state.feed(s[:cut]) && state.feed(s[cut:]); got != want {
				t.Errorf("%x, cut after %d: %v, want %v", s, cut, got, want)
			} else if got && state.end() != utf8.Valid(s) {
				t.Errorf("%x, cut after %d: ends, valid %v", s, cut, utf8.Valid(s))
			}
		}
		if left == 0 || !want {
			return
		}
		for _, c := range classes {
			try(append(s[:len(s):len(s)], c), left-1)
		}
	}
	try(nil, utf8.UTFMax)
}
