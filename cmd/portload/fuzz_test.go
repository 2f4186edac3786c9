package main

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"
)

// FuzzParseStat checks that parseStat finds the CPU time behind any name, and fails for other
// lines.
func FuzzParseStat(f *testing.F) {
	f.Add("a) b (c", uint64(150), uint64(50), "7 (a) S 1 7 7 0 -1 4194560 1 2 3 4 -150 50 7")
	f.Add("\n) S 1 2 3 4 5 6 7 8 9 10 11 12", uint64(math.MaxUint64), uint64(1)<<63, "")
	f.Fuzz(func(t *testing.T, name string, user, system uint64, other string) {
		const behind = "0 0 20 0 9 0 1 2 3"
		line := fmt.Sprintf("7 (%s) S 1 7 7 0 -1 4194560 1 2 3 4 %d %d %s", name, user, system, behind)
		all, kernel, err := parseStat(line)
		if want := (float64(user) + float64(system)) / 100; err != nil || math.Abs(all-want) > want*1e-15 || kernel != float64(system)/100 {
			t.Errorf("parseStat(%q) = %v, %v, %v, want %v", line, all, kernel, err, want)
		}
		if all, kernel, err := parseStat(other); kernel < 0 || all < kernel || err != nil && all != 0 {
			t.Errorf("parseStat(%q) = %v, %v, %v", other, all, kernel, err)
		}
	})
}

// FuzzHistogram checks that a histogram survives its JSON, that its quantiles are those of the
// durations, and that other JSON adds nothing, or what MarshalJSON could have returned.
func FuzzHistogram(f *testing.F) {
	f.Add(int64(1), int64(1e9), uint8(3), `[1000000000,31,1,845,3]`)
	f.Add(int64(-1), int64(math.MaxInt64), uint8(200), `[5,0,-1,0,2]`)
	f.Add(int64(0), int64(0), uint8(0), `[1,0,1,9999,1]`)
	f.Add(int64(0), int64(0), uint8(0), `[1,0,9223372036854775807,1,9223372036854775807]`)
	f.Fuzz(func(t *testing.T, first, step int64, n uint8, text string) {
		var h, again histogram
		var all []time.Duration
		for i := range int64(n) {
			d := time.Duration(first + i*step)
			h.record(d)
			all = append(all, max(d, 0))
		}
		slices.Sort(all)
		b, err := json.Marshal(&h)
		if err == nil {
			err = json.Unmarshal(b, &again)
		}
		if err != nil || again.count() != int64(n) {
			t.Fatalf("%s has %d durations, want %d; %v", b, again.count(), n, err)
		}
		for _, q := range []float64{0, .5, .9, .99, 1} {
			var want time.Duration
			if n > 0 {
				want = all[min(int(q*float64(n)), len(all)-1)]
			}
			if got := again.quantile(q); got < want || got-want > want/32 || got != h.quantile(q) {
				t.Errorf("quantile(%v) = %v of %v, want %v or up to 3%% more", q, got, all, want)
			}
		}

		var other, same histogram
		if err := json.Unmarshal([]byte(text), &other); err != nil {
			if other.count() != 0 || other.max.Load() != 0 {
				t.Errorf("%s is refused, %v, and counts", text, err)
			}
			return
		}
		b, err = json.Marshal(&other)
		if err == nil {
			err = json.Unmarshal(b, &same)
		}
		if err != nil || same.count() != other.count() || same.quantile(.5) != other.quantile(.5) {
			t.Errorf("%s becomes %s, which does not come out of it: %v", text, b, err)
		}
		for last, q := time.Duration(0), 0.0; q <= 1; q += .25 {
			if got := other.quantile(q); got < last || got > time.Duration(other.max.Load()) {
				t.Errorf("quantile(%v) of %s = %v", q, text, got)
			} else {
				last = got
			}
		}
	})
}
