package boundtest

import (
	"testing"
	"time"
)

// Never has no effect as a bound. A negative number would be reached at once.
func TestEffective(t *testing.T) {
	for given, want := range map[int64]int64{0: 0, 7: 7, int64(100 * 365 * 24 * time.Hour): None, -1: None, -7: -7, never: never} {
		if got := effective(given); got != want {
			t.Errorf("effective(%d) = %d, want %d", given, got, want)
		}
	}
}
