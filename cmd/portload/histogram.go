package main

import (
	"encoding/json"
	"fmt"
	"math/bits"
	"sync/atomic"
	"time"
)

// stepBits is the resolution of a histogram: 32 buckets for each power of two, so that a quantile
// is at most 3% too high.
const stepBits = 5

// A histogram counts durations in buckets that grow with them. The zero value is empty; any number
// of goroutines may record at once.
type histogram struct {
	max     atomic.Int64
	buckets [(64 - stepBits) << stepBits]atomic.Int64
}

// bucketOf returns the bucket of n nanoseconds: exact below 64, then by the six highest bits.
func bucketOf(n uint64) int {
	shift := max(bits.Len64(n)-stepBits-1, 0)
	return shift<<stepBits + int(n>>shift) //nolint:gosec // below 64
}

// topOf returns the longest duration in bucket i.
func topOf(i int) time.Duration {
	shift := max(i>>stepBits-1, 0)
	n := uint64(i-shift<<stepBits+1)<<shift - 1 //nolint:gosec // i is an index
	return time.Duration(min(n, 1<<63-1))       //nolint:gosec // bounded
}

func (h *histogram) record(d time.Duration) {
	d = max(d, 0) // the clock was set back
	h.buckets[bucketOf(uint64(d))].Add(1)
	h.longer(int64(d))
}

func (h *histogram) longer(d int64) {
	for {
		old := h.max.Load()
		if d <= old || h.max.CompareAndSwap(old, d) {
			return
		}
	}
}

func (h *histogram) count() (n int64) {
	for i := range h.buckets {
		n += h.buckets[i].Load()
	}
	return n
}

// quantile returns the duration that the part q of all did not exceed; 0 if there are none.
func (h *histogram) quantile(q float64) time.Duration {
	left := int64(q * float64(h.count()))
	for i := range h.buckets {
		n := h.buckets[i].Load()
		if n > 0 && n > left {
			return min(topOf(i), time.Duration(h.max.Load()))
		}
		left -= n
	}
	return time.Duration(h.max.Load())
}

func (h *histogram) add(o *histogram) {
	for i := range o.buckets {
		if n := o.buckets[i].Load(); n > 0 {
			h.buckets[i].Add(n)
		}
	}
	h.longer(o.max.Load())
}

// MarshalJSON returns an array: the maximum, then the index and count of each bucket in use.
func (h *histogram) MarshalJSON() ([]byte, error) {
	list := []int64{h.max.Load()}
	for i := range h.buckets {
		if n := h.buckets[i].Load(); n > 0 {
			list = append(list, int64(i), n)
		}
	}
	return json.Marshal(list)
}

// UnmarshalJSON adds a result of MarshalJSON to h. It fails, and adds nothing, for other input.
func (h *histogram) UnmarshalJSON(b []byte) error {
	var list []int64
	if err := json.Unmarshal(b, &list); err != nil {
		return err
	}
	if len(list)%2 == 0 || list[0] < 0 {
		return fmt.Errorf("histogram with %d numbers, or a negative duration", len(list))
	}
	left := int64(1) << 53 // as many are exact in a float64
	for i := 1; i < len(list); i += 2 {
		bucket, n := list[i], list[i+1]
		if bucket < 0 || bucket >= int64(len(h.buckets)) || n < 0 || n > left {
			return fmt.Errorf("histogram with %d durations in bucket %d", n, bucket)
		}
		left -= n
	}
	h.longer(list[0])
	for i := 1; i < len(list); i += 2 {
		h.buckets[list[i]].Add(list[i+1])
	}
	return nil
}
