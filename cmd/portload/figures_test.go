package main

import (
	"encoding/json"
	"math"
	"testing"
	"time"
)

func TestHistogram(t *testing.T) {
	var h histogram
	if got := h.quantile(.5); got != 0 {
		t.Errorf("quantile of nothing = %v", got)
	}
	for i := range 1000 {
		h.record(time.Duration(i+1) * time.Millisecond)
	}
	for q, want := range map[float64]time.Duration{0: time.Millisecond, .5: 501 * time.Millisecond, .99: 991 * time.Millisecond, 1: time.Second} {
		if got := h.quantile(q); got < want || got > want+want/32 {
			t.Errorf("quantile(%v) = %v, want %v or up to 3%% more", q, got, want)
		}
	}
	b, err := json.Marshal(&h)
	if err != nil {
		t.Fatal(err)
	}
	var sum histogram
	for range 2 {
		var same histogram
		if err := json.Unmarshal(b, &same); err != nil {
			t.Fatal(err)
		}
		sum.add(&same)
	}
	if sum.count() != 2000 || sum.quantile(.9) != h.quantile(.9) || sum.quantile(1) != time.Second {
		t.Errorf("twice as many: %d, %v, %v", sum.count(), sum.quantile(.9), sum.quantile(1))
	}
	for _, bad := range []string{`[]`, `[1,2]`, `[1,-1,1]`, `[1,9999,1]`, `{}`} {
		if err := json.Unmarshal([]byte(bad), &sum); err == nil {
			t.Errorf("no error for %s", bad)
		}
	}
}

// Every duration is in a bucket of its own size.
func TestBuckets(t *testing.T) {
	last := -1
	for _, n := range []uint64{0, 1, 31, 32, 63, 64, 65, 66, 127, 128, 1000, 1 << 20, 1<<40 + 12345, math.MaxInt64} {
		i := bucketOf(n)
		if i < last || i >= len(histogram{}.buckets) {
			t.Errorf("bucketOf(%d) = %d after %d", n, i, last)
		}
		last = i
		if top := uint64(topOf(i)); top < n || top-n > n/32 {
			t.Errorf("topOf(bucketOf(%d)) = %d", n, top)
		}
		if n > 0 && i > 0 && uint64(topOf(i-1)) >= n {
			t.Errorf("%d fits into bucket %d too", n, i-1)
		}
	}
}

func TestParseStat(t *testing.T) {
	all, system, err := parseStat("7 (a) b (c) S 1 7 7 0 -1 4194560 1 2 3 4 150 50 7 8 20 0 9 0 1 2 3")
	if err != nil || all != 2 || system != .5 {
		t.Errorf("parseStat() = %v, %v, %v, want 2, 0.5", all, system, err)
	}
	for _, bad := range []string{"", "7 (a) S 1", "7 (a) S 1 7 7 0 -1 4194560 1 2 3 4 x 50 7"} {
		if _, _, err := parseStat(bad); err == nil {
			t.Errorf("no error for %q", bad)
		}
	}
}

func TestSocketBytes(t *testing.T) {
	words := []string{"inuse", "1", "orphan", "0", "tw", "0", "alloc", "1", "mem", "2"}
	if got := socketBytes(map[string][]string{"TCP": words}); got < 2<<12 {
		t.Errorf("socketBytes() = %d", got)
	}
	if got := socketBytes(nil); got != 0 {
		t.Errorf("socketBytes(nil) = %d", got)
	}
}

func TestSize(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 9999: "9999 B", -2000: "-2000 B", 20 << 10: "20.0 KiB", -20 << 20: "-20.0 MiB"} {
		if got := size(n); got != want {
			t.Errorf("size(%d) = %q, want %q", n, got, want)
		}
	}
}

func TestBrief(t *testing.T) {
	for seconds, want := range map[float64]string{0: "0s", 1.23456: "1.23s", 0.0123456: "12.3ms", 123e-9: "123ns"} {
		if got := brief(seconds).String(); got != want {
			t.Errorf("brief(%v) = %q, want %q", seconds, got, want)
		}
	}
}

// No share shrinks when there is more to share.
func TestShare(t *testing.T) {
	c := crew{workers: make([]worker, 7)}
	for n := range 50 {
		sum := 0
		for i := range c.workers {
			sum += c.share(n, i)
			if c.share(n, i) > c.share(n+1, i) {
				t.Errorf("share(%d, %d) = %d, share(%d) = %d", n, i, c.share(n, i), n+1, c.share(n+1, i))
			}
		}
		if sum != n {
			t.Errorf("the shares of %d are %d", n, sum)
		}
	}
}
