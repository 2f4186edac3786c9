package handlers

import (
	"strings"
	"testing"
)

func TestPosition(t *testing.T) {
	p := Position{0xabc, 17}
	if got, err := ParsePosition(p.String()); got != p || err != nil {
		t.Errorf("ParsePosition(%q) = %v, %v", p, got, err)
	}
	for _, s := range []string{"FFFF-7", "0-0", "ffffffffffffffff-18446744073709551615", strings.Repeat("f", 32) + "-1", "1-" + strings.Repeat("9", 40)} {
		if _, err := ParsePosition(s); err != nil {
			t.Errorf("ParsePosition(%q) = %v", s, err)
		}
	}
	for _, s := range []string{
		"", "-", "1", "x-1", "1-x", "1-2-3", "-1-2", "1-", "-1", "+1-1", "1-+1", "1-1 ", " 1-1", "0x1-1", "1_0-1", "1-1_0", "1-a", "1--1",
		strings.Repeat("f", 32) + "x-1", "1-" + strings.Repeat("9", 40) + "x", "\u0661-1",
	} {
		if got, err := ParsePosition(s); err == nil {
			t.Errorf("ParsePosition(%q) = %v, want an error", s, got)
		}
	}
}
