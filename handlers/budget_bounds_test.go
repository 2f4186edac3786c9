package handlers

import (
	"math"
	"testing"

	"github.com/portluck/portluck/handlers/internal/boundtest"
)

// Zero is the default of a bound, and a negative value means no bound.
func TestBudgetBounds(t *testing.T) {
	boundtest.Check(t, nil,
		boundtest.Field("Max", 256<<20, boundtest.None, func(b *Budget) int64 {
			for _, n := range []int{5, 256 << 20} {
				if b.Take(n + 1) {
					b.Take(-n - 1)
				} else if b.Take(n) {
					return int64(n)
				}
			}
			if b.Take(math.MaxInt) {
				return boundtest.None
			}
			return math.MinInt64
		}),
	)
}
