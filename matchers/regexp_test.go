package matchers_test

import (
	"fmt"
	"regexp"
	"testing"

	"github.com/portluck/portluck/matchers"
)

// Each verdict comes as soon as a byte decides it.
func TestRegexpDecides(t *testing.T) {
	for re, want := range map[string]map[string]string{
		`\AFOO\d`:               {"": "more", "F": "more", "FOO": "more", "FOO1": "yes", "FOX": "no", "h": "no", "FOO\xd9": "no"},
		`^FOO`:                  {"FO": "more", "FOO": "yes", "FA": "no"},
		`\A(?i)k`:               {"k": "yes", "\xe2": "more", "\xe2\x84": "more", "\xe2\x84\xaa": "yes", "\xe2\x85": "no", "\xc3": "no"},
		`\A\p{Greek}`:           {"\xce": "more", "\xce\xb1": "yes", "\xc3": "no", "a": "no"},
		`\A[^a]`:                {"\xf0": "more", "\xf0\x90": "more", "\xf0\x90\x80\x80": "yes", "\xf0a": "yes", "a": "no"},
		`\A\x{fffd}`:            {"\xff": "yes", "\xe2": "more", "\xe2a": "yes", "\xe2\x82\xac": "no"},
		`\Aa\bb`:                {"": "more", "a": "no"},
		`\Aa\b`:                 {"a": "more", "ab": "no", "a\xc3": "yes", "a\n": "yes", "a_": "no"},
		`\Aa\B`:                 {"a": "more", "ab": "yes", "a ": "no"},
		`\Aa(\b|\B)`:            {"a": "yes"},
		`\Aa$`:                  {"a": "more", "a\n": "no", "ab": "no"},
		`(?m)\Aa$`:              {"a": "more", "a\n": "yes", "ab": "no"},
		`(?m)^b`:                {"": "more", "a": "more", "a\n": "more", "a\nb": "yes"},
		`\A(a|b*)c`:             {"bbb": "more", "bbbc": "yes", "aa": "no", "ab": "no"},
		`\Aa*?b`:                {"aaaa": "more", "aaab": "yes", "aac": "no"},
		`\A.x`:                  {"\n": "no", "\xc3": "more", "\xc3x": "yes", "\xc3\xa9x": "yes", "\xc3\xa9\xc3": "no"},
		`\A(?s:.)x`:             {"\n": "more", "\nx": "yes", "\ny": "no"},
		`\A`:                    {"": "yes"},
		`\A\z`:                  {"": "more", "a": "no"},
		`[^\x00-\x{10FFFF}]`:    {"": "no"},
		`\Aa[^\x00-\x{10FFFF}]`: {"": "no"},
	} {
		verdicts(t, matchers.Regexp(regexp.MustCompile(re), 16), want)
	}
}

// A verdict never changes, and at the end of the input it is that of package regexp.
func FuzzRegexp(f *testing.F) {
	for _, re := range []string{
		`\AFOO\d`, `\A(GET|SET) \w+`, `\Aab$`, `(?m)^b`, `\Aa(b\B)+`, `(?i)\Akelvin`, `\A\p{Greek}+`, `\A.{2,3}\z`, `a|\Ab\b`, `(?U)a+$`,
	} {
		for _, in := range []string{"FOO1", "SET x", "ab", "a\nb", "abbb.", "\xe2\x84\xaaelvin", "\xce\xb1\xce", "\xf0\x90\x80", "\xff\xed\xa0"} {
			f.Add(re, in)
		}
	}
	f.Fuzz(func(t *testing.T, pattern, in string) {
		if len(pattern) > 60 || len(in) > 60 {
			return
		}
		for _, compile := range []func(string) (*regexp.Regexp, error){regexp.Compile, regexp.CompilePOSIX} {
			if re, err := compile(pattern); err == nil {
				holdRegexp(t, re, in)
			}
		}
	})
}

// holdRegexp checks that the matcher of re agrees with re about in.
func holdRegexp(t *testing.T, re *regexp.Regexp, in string) {
	m := matchers.Regexp(re, 0)
	verify(t, m, []byte(in))
	for i := range len(in) + 1 {
		v := m.Match(matchers.Hello{Bytes: []byte(in[:i])})
		if v.Needed() > 0 {
			continue
		}
		if got, want := v == matchers.Yes, re.MatchString(in); got != want {
			t.Errorf("%v is decided at %d of %q: %t, want %t", re, i, in, got, want)
		}
	}
	v := m.Match(matchers.Hello{Bytes: []byte(in), EOF: true})
	if want := re.MatchString(in); v.Needed() > 0 || (v == matchers.Yes) != want {
		t.Errorf("%v of the whole %q: %d, want %t", re, in, v, want)
	}
}

// The matcher knows what each possible next rune makes of a match: assertions see words, lines and
// their ends as in package regexp.
func TestRegexpFollowers(t *testing.T) {
	for r := rune(0); r < 0x100; r++ {
		isWord := r == '_' || '0' <= r && r <= '9' || 'A' <= r && r <= 'Z' || 'a' <= r && r <= 'z'
		for assertion, follows := range map[string]bool{"": true, `\b`: !isWord, `\B`: isWord, "(?m:$)": r == '\n'} {
			re := regexp.MustCompile(fmt.Sprintf(`\Ax%s\x{%x}`, assertion, r))
			want := matchers.No
			if follows {
				want = matchers.Need(2)
			}
			if got := matchers.Regexp(re, 0).Match(matchers.Hello{Bytes: []byte("x")}); got != want {
				t.Errorf("%v after x: %d, want %d", re, got, want)
			}
		}
	}
}

// An expression of CompilePOSIX, in which ^ is the beginning of every line, is decided as by
// package regexp. An expression that only CompilePOSIX accepts has one program.
func TestRegexpPOSIX(t *testing.T) {
	for re, want := range map[string]map[string]string{
		"^a**b":   {"a": "more", "ab": "yes", "c": "more"},
		"^b":      {"b": "yes", "a": "more", "a\nb": "more"},
		"b$":      {"b": "more", "b\n": "more"},
		"[^a]b":   {"\nb": "more", "xb": "yes"},
		"(a|ab)c": {"abc": "yes", "x": "more"},
	} {
		verdicts(t, matchers.Regexp(regexp.MustCompilePOSIX(re), 16), want)
	}
	for in, want := range map[string]matchers.Verdict{"aab": matchers.Yes, "aac": matchers.No, "c\naab": matchers.Yes} {
		for _, re := range []string{"^a**b", "^a*b"} {
			m := matchers.Regexp(regexp.MustCompilePOSIX(re), 0)
			if got := m.Match(matchers.Hello{Bytes: []byte(in), EOF: true}); got != want {
				t.Errorf("%s: %q: %d, want %d", re, in, got, want)
			}
		}
	}
	longest := regexp.MustCompile(`\AFOO\d`)
	longest.Longest()
	verdicts(t, matchers.Regexp(longest, 16), map[string]string{"FOO": "more", "FOO1": "yes", "h": "no"})
}
