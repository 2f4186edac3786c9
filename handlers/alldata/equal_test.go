package alldata

import (
	"strings"
	"testing"
)

func TestSame(t *testing.T) {
	long := `"` + strings.Repeat("x", maxCompared) + `"`
	xx := func(first string, size int) string { // size bytes
		return `"` + first + strings.Repeat("x", size-len(first)-2) + `"`
	}
	tests := []struct {
		name, a, b string
		want       bool
	}{
		{"the longest, spelled otherwise", xx(`\u0078x`, maxCompared), xx(`x\u0078`, maxCompared), true},
		{"longer, spelled otherwise", xx(`\u0078x`, maxCompared+1), xx(`x\u0078`, maxCompared+1), false},
		{"one is longer", xx(`\u0078`, maxCompared+1), xx("", maxCompared-4), false},
		{"bytes", `{"a":1}`, `{"a":1}`, true},
		{"order of members", `{"a":1,"b":2}`, `{"b":2,"a":1}`, true},
		{"order of elements", `[1,2]`, `[2,1]`, false},
		{"one more member", `{"a":1}`, `{"a":1,"b":null}`, false},
		{"another name", `{"a":null}`, `{"b":null}`, false},
		{"one more element", `[1]`, `[1,1]`, false},
		{"the last of two members", `{"a":1,"a":2}`, `{"a":2}`, true},
		{"nested", `{"a":[{"b":1,"c":2}]}`, `{"a":[{"c":2,"b":1}]}`, true},
		{"kinds", `{}`, `[]`, false},
		{"text and number", `"1"`, `1`, false},
		{"null and false", `null`, `false`, false},
		{"null and nothing", `[null]`, `[]`, false},
		{"escapes", `"\u20ac\n\/"`, `"€\u000a/"`, true},
		{"pairs", `"\ud83d\ude00"`, `"😀"`, true},
		{"half a pair, the same", `"\ud800"`, `"\ud800"`, true},
		{"half a pair, another", `"\ud800"`, `"\ud801"`, false},
		{"half a pair and what Go makes of it", `"\ud800"`, `"\ufffd"`, false},
		{"1.0", `1`, `1.0`, true},
		{"1e0", `1`, `1e0`, true},
		{"10e-1", `1`, `10E-1`, true},
		{"0.1e+1", `1`, `0.1e+1`, true},
		{"-0", `0`, `-0.0`, true},
		{"sign", `1`, `-1`, false},
		{"0.1", `0.1`, `1e-1`, true},
		{"beyond float64", `12345678901234567890`, `12345678901234567891`, false},
		{"beyond float64, the same", `12345678901234567890`, `1.2345678901234567890e19`, true},
		{"huge exponents", `1e400`, `1e401`, false},
		{"exponents beyond reason", `1e99999999999999999999`, `1E99999999999999999999`, false},
		{"long, the same", long, long, true},
		{"long, spelled otherwise", long, strings.Replace(long, "x", `\u0078`, 1), false},
	}
	for _, tt := range tests {
		if got := equalJSON([]byte(tt.a), []byte(tt.b)); got != tt.want {
			t.Errorf("%s: same(%.50s, %.50s) = %t", tt.name, tt.a, tt.b, got)
		}
		if got := equalJSON([]byte(tt.b), []byte(tt.a)); got != tt.want {
			t.Errorf("%s, the other way: %t", tt.name, got)
		}
	}
}

func TestLoneSurrogate(t *testing.T) {
	for text, want := range map[string]bool{
		``: false, `"a"`: false, `"\n\\u"`: false, `"\\ud800"`: false, `"\ud83d\ude00"`: false, `"\uD83D\uDE00x"`: false,
		`"\ud800"`: true, `"\udc00"`: true, `"\ud800\ud800\udc00"`: true, `"\ude00\ud83d"`: true, `"\ud800\\udc00"`: true,
		`"\ud7ff"`: false, `"\ue000"`: false, `"\udfff"`: true, `"\udbff\udfff"`: false, `"\udc00\udc00"`: true, `"\ud800\udbff"`: true,
		`"\ud800\ue000"`: true, `"\ud800\ud7ff"`: true, `\ud800`: true, `\ud800\udc00`: false, `"\ud83d\ude00\ud800"`: true,
		`"\ud800x\udc00"`: true, `"\\\ud800"`: true, `\`: false, `\u`: false, `\ud80`: false,
	} {
		if got := hasLoneSurrogate([]byte(text)); got != want {
			t.Errorf("hasLoneSurrogate(%s) = %t", text, got)
		}
	}
}
