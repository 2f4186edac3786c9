package websocket

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

// element matches an element of a list, or a parameter of one, with its separator. A quoted string
// may have any bytes, also escaped ones, and need not end.
var element = map[byte]*regexp.Regexp{
	',': regexp.MustCompile(`(?s)^((?:[^",]|"(?:[^"\\]|\\.)*(?:"|\\?$))*)(,|$)`),
	';': regexp.MustCompile(`(?s)^((?:[^";]|"(?:[^"\\]|\\.)*(?:"|\\?$))*)(;|$)`),
}

// slowList is splitList, written after the grammar of RFC 9110, sections 5.6.1 and 5.6.4.
func slowList(s string, sep byte) (all []string) {
	for {
		m := element[sep].FindStringSubmatch(s)
		all = append(all, strings.Trim(m[1], " \t"))
		if m[2] == "" {
			return all
		}
		s = s[len(m[0]):]
	}
}

// FuzzSplitList checks that a list is split as its grammar says, and that elements that were joined
// are split again.
func FuzzSplitList(f *testing.F) {
	for _, s := range []string{"", ",", "a, b", ` a;b="c,d" `, `a="\",\\",b`, `"`, `"\`, `a\,b`, "\u00a0a\u00a0,\v"} {
		f.Add(s, ";")
	}
	f.Fuzz(func(t *testing.T, s, other string) {
		for _, sep := range []byte(",;") {
			got := splitList(s, sep)
			if want := slowList(s, sep); !slices.Equal(got, want) {
				t.Fatalf("splitList(%q, %q) = %q, want %q", s, sep, got, want)
			}
			if len(got) > strings.Count(s, string(sep))+1 {
				t.Errorf("splitList(%q, %q) = %q", s, sep, got)
			}
			quoted := `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(other) + `"`
			want := []string{"x=" + quoted, "", quoted}
			if got := splitList(strings.Join(want, "\t"+string(sep)+" "), sep); !slices.Equal(got, want) {
				t.Errorf("splitList of %q = %q", want, got)
			}
		}
	})
}

// bitsPattern matches the value of a window, as a token or a quoted string.
const bitsPattern = `[ \t]*=[ \t]*(?:(8|9|1[0-5])|"(\\?8|\\?9|\\?1\\?[0-5])")`

// param matches a valid parameter of an offer (RFC 7692, section 7.1).
var param = regexp.MustCompile(`^(?:(server_no_context_takeover|client_no_context_takeover)|` +
	`(server_max_window_bits)` + bitsPattern + `|(client_max_window_bits)(?:` + bitsPattern + `)?)$`)

// FuzzOffer checks that an offer is accepted if and only if it has only parameters of RFC 7692,
// each at most once and with a valid value, and that the answer has only what the offer allows.
func FuzzOffer(f *testing.F) {
	for _, s := range []string{
		"permessage-deflate", "permessage-deflate; client_max_window_bits; server_max_window_bits=10", `Permessage-Deflate;server_max_window_bits="9"`,
		`permessage-deflate; server_max_window_bits="1\0"`, "permessage-deflate; client_max_window_bits=16, permessage-deflate ;client_no_context_takeover", "permessage-deflate\u00a0",
		"permeſſage-deflate", "permessage-deflate; server_no_context_takeover; server_no_context_takeover", "permessage-deflate;\u0085server_no_context_takeover",
	} {
		f.Add(s, true)
		f.Add(s, false)
	}
	f.Fuzz(func(t *testing.T, line string, keep bool) {
		answer, window, keeps := negotiate([]string{"x", line}, keep)
		for _, one := range slowList(line, ',') {
			elements := slowList(one, ';')
			if lowerASCII(elements[0]) != "permessage-deflate" {
				continue
			}
			values, ok := map[string]string{}, true
			for _, p := range elements[1:] {
				m := param.FindStringSubmatch(p)
				if m == nil {
					ok = false
					break
				}
				name := m[1] + m[2] + m[5]
				if _, twice := values[name]; twice {
					ok = false
					break
				}
				values[name] = strings.ReplaceAll(m[3]+m[4]+m[6]+m[7], `\`, "")
			}
			if !ok {
				continue
			}
			checkAnswer(t, line, answer, values, keep)
			if window < minWindow || window > maxWindow || (keeps > 0) != (keep && !strings.Contains(answer, "client_no_context_takeover")) {
				t.Errorf("negotiate(%q, %t) = %q, %d, %d", line, keep, answer, window, keeps)
			}
			return
		}
		if answer != "" || window != 0 || keeps != 0 {
			t.Errorf("negotiate(%q, %t) = %q, %d, %d, want none", line, keep, answer, window, keeps)
		}
	})
}

// checkAnswer checks an answer to an offer with these parameters.
func checkAnswer(t *testing.T, line, answer string, offered map[string]string, keep bool) {
	t.Helper()
	want := "permessage-deflate; server_no_context_takeover"
	_, anew := offered["client_no_context_takeover"]
	if !keep || anew {
		want += "; client_no_context_takeover"
	} else if bits := offered["client_max_window_bits"]; bits != "" {
		want += "; client_max_window_bits=" + bits
	}
	if bits := offered["server_max_window_bits"]; bits != "" {
		want += "; server_max_window_bits=" + bits
	}
	if answer != want {
		t.Errorf("negotiate(%q, %t) = %q, want %q", line, keep, answer, want)
	}
}

// lowerASCII returns s with its ASCII capitals in lower case.
func lowerASCII(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			r += 'a' - 'A'
		}
		return r
	}, s)
}
