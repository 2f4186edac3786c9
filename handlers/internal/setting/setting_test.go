package setting_test

import (
	"math"
	"testing"
	"time"

	"github.com/portluck/portluck/handlers/internal/setting"
)

func TestOr(t *testing.T) {
	for _, tt := range []struct{ v, want time.Duration }{
		{0, time.Second}, {1, 1}, {-1, setting.Never}, {math.MinInt64, setting.Never}, {setting.Never, setting.Never},
	} {
		if got := setting.Or(tt.v, time.Second, setting.Never); got != tt.want {
			t.Errorf("Or(%d) = %v, want %v", tt.v, got, tt.want)
		}
	}
}

// Never can be added to any time of today without overflow.
func TestNever(t *testing.T) {
	if now := time.Now(); !now.Add(setting.Never).After(now.AddDate(99, 0, 0)) {
		t.Error("it passes")
	}
}
