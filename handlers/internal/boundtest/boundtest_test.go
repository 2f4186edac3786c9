package boundtest

import (
	"testing"
	"time"
)

// A bound that is never reached is none. A negative number is not: compared with, it is reached at
// once.
func TestEffective(t *testing.T) {
	for given, want := range map[int64]int64{0: 0, 7: 7, int64(100 * 365 * 24 * time.Hour): None, -1: None, -7: -7, never: never} {
		if got := effective(given); got != want {
			t.Errorf("effective(%d) = %d, want %d", given, got, want)
		}
	}
}
