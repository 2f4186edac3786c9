package handlers

import (
	"errors"
	"sync"
	"testing"
)

func TestBudget(t *testing.T) {
	for _, tt := range []struct {
		name string
		max  int64
		take []int
		want []bool
		held int64
	}{
		{"up to Max", 10, []int{4, 6, 1, 0}, []bool{true, true, false, true}, 10},
		{"what is given back may be taken", 10, []int{10, -3, 4, 3}, []bool{true, true, false, true}, 10},
		{"zero is 256 MiB", 0, []int{256 << 20, 1}, []bool{true, false}, 256 << 20},
		{"negative is no bound", -1, []int{1 << 30, 1 << 30}, []bool{true, true}, 2 << 30},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := Budget{Max: tt.max}
			for i, n := range tt.take {
				if got := b.Take(n); got != tt.want[i] {
					t.Errorf("Take(%d) = %t", n, got)
				}
			}
			if got := b.Held(); got != tt.held {
				t.Errorf("Held() = %d, want %d", got, tt.held)
			}
		})
	}
}

// Force counts bytes even if they exceed Max.
func TestBudgetForce(t *testing.T) {
	b := Budget{Max: 10}
	b.Force(15)
	if b.Take(1) || b.Held() != 15 {
		t.Errorf("more was taken, %d bytes are held, want 15", b.Held())
	}
	if err := b.Refuse(); !errors.Is(err, ErrOverload) || b.Refused() != 1 {
		t.Errorf("Refuse() = %v, Refused() = %d", err, b.Refused())
	}
}

func TestNoBudget(t *testing.T) {
	var b *Budget
	b.Force(1)
	if !b.Take(1<<30) || !errors.Is(b.Refuse(), ErrOverload) {
		t.Error("a nil Budget refuses")
	}
}

// Concurrent takers never exceed Max, and a request that fits is not refused because of another
// that does not.
func TestBudgetAtOnce(t *testing.T) {
	b := Budget{Max: 1000}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 1000 {
				if b.Take(2000) {
					t.Error("2000 of 1000 were taken")
				}
				if !b.Take(100) {
					t.Error("100 of 1000 were refused")
				}
				if got := b.Held(); got < 0 || got > 800 {
					t.Errorf("Held() = %d", got)
				}
				b.Take(-100)
			}
		})
	}
	wg.Wait()
	if got := b.Held(); got != 0 {
		t.Errorf("Held() = %d at the end", got)
	}
}
