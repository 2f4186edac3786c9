package alldata

import (
	"slices"
	"sync"
	"testing"
	"time"
)

func TestNewKey(t *testing.T) {
	zone := time.FixedZone("", 2*60*60)
	tests := []struct {
		name string
		at   time.Time
		want string
	}{
		{"upstream's, with the nanoseconds in their place", time.Date(2026, 11, 21, 2, 15, 41, 371_000_048, time.UTC), "20261121T021541371000048000"},
		{"in another zone", time.Date(2026, 11, 21, 2, 15, 41, 5, zone), "20261121T001541000000005000"},
		{"on the second", time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), "20260102T030405000000000000"},
		{"the last of a second", time.Date(2026, 1, 2, 3, 4, 5, 999_999_999, time.UTC), "20260102T030405999999999000"},
		{"early", time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC), "00010101T000000000000000000"},
	}
	for _, tt := range tests {
		if got := NewKey(tt.at); got != tt.want || len(got) != KeyLen {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
	last := ""
	for d := time.Duration(1); d < 1<<55; d *= 3 {
		key := NewKey(time.Unix(0, 0).Add(d))
		if key <= last {
			t.Errorf("%q after %q", key, last)
		}
		last = key
	}
}

// Keys increase whatever the clock does, with any number of goroutines.
func TestKeygen(t *testing.T) {
	at := time.Date(2026, 11, 21, 2, 15, 41, 999_999_999, time.UTC)
	clocks := map[string]func() func() time.Time{
		"real":         func() func() time.Time { return nil },
		"stands still": func() func() time.Time { return func() time.Time { return at } },
		"goes back": func() func() time.Time {
			n := 0
			return func() time.Time { n++; return at.Add(-time.Duration(n) * time.Hour) }
		},
		"ticks in milliseconds": func() func() time.Time {
			n := 0
			return func() time.Time { n++; return at.Add(time.Duration(n/100) * time.Millisecond) }
		},
	}
	for name, clock := range clocks {
		t.Run(name, func(t *testing.T) {
			g := &Keygen{Now: clock()}
			var mu sync.Mutex
			var keys []string
			each(8, func(int) {
				last := ""
				for range 500 {
					key := g.Next()
					if key <= last || len(key) != KeyLen {
						t.Errorf("%q after %q", key, last)
					}
					last = key
					mu.Lock()
					keys = append(keys, key)
					mu.Unlock()
				}
			})
			slices.Sort(keys)
			if n := len(slices.Compact(keys)); n != 4000 {
				t.Errorf("%d different keys, want 4000", n)
			}
		})
	}
}
