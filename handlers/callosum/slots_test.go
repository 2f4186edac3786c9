package callosum

import (
	"errors"
	"slices"
	"sync"
	"testing"
)

func take(t testing.TB, s *Slots) int {
	t.Helper()
	slot, err := s.Get()
	if err != nil {
		t.Fatalf("Get() = %v", err)
	}
	return slot
}

func TestSlots(t *testing.T) {
	t.Run("S1 first is 0", func(t *testing.T) {
		if got := take(t, new(Slots)); got != 0 {
			t.Errorf("Get() = %d, want 0", got)
		}
	})
	t.Run("S2 even ones put back in reverse are given out ascending", func(t *testing.T) {
		s := new(Slots)
		const n = 10000
		for want := range n {
			if got := take(t, s); got != want {
				t.Fatalf("Get() = %d, want %d", got, want)
			}
		}
		for slot := n - 2; slot >= 0; slot -= 2 {
			if err := s.Put(slot); err != nil {
				t.Fatalf("Put(%d) = %v", slot, err)
			}
		}
		for want := 0; want < n; want += 2 {
			if got := take(t, s); got != want {
				t.Fatalf("Get() = %d, want %d", got, want)
			}
		}
		if got := take(t, s); got != n {
			t.Errorf("Get() = %d, want %d", got, n)
		}
	})
	t.Run("S3 put of what was not given is an error", func(t *testing.T) {
		s := new(Slots)
		for _, slot := range []int{17, 0, -1} {
			if err := s.Put(slot); !errors.Is(err, ErrSlot) {
				t.Errorf("Put(%d) = %v, want ErrSlot", slot, err)
			}
		}
	})
	t.Run("a double put is an error", func(t *testing.T) {
		s := new(Slots)
		take(t, s)
		take(t, s)
		if err := s.Put(0); err != nil {
			t.Fatal(err)
		}
		if err := s.Put(0); !errors.Is(err, ErrSlot) {
			t.Errorf("second Put(0) = %v, want ErrSlot", err)
		}
		if a, b := take(t, s), take(t, s); a != 0 || b != 2 {
			t.Errorf("then Get() = %d, %d, want 0, 2", a, b)
		}
	})
	t.Run("starts again when all have come back", func(t *testing.T) {
		s := new(Slots)
		for range 1000 {
			take(t, s)
		}
		for slot := range 1000 {
			if err := s.Put(slot); err != nil {
				t.Fatal(err)
			}
		}
		if s.Len() != 0 || s.free != nil || s.given != nil {
			t.Errorf("%d out, %d kept", s.Len(), len(s.free))
		}
		if got := take(t, s); got != 0 {
			t.Errorf("Get() = %d, want 0", got)
		}
	})
	t.Run("no more than Max", func(t *testing.T) {
		s := &Slots{Max: 2}
		take(t, s)
		take(t, s)
		if _, err := s.Get(); !errors.Is(err, ErrNoSlot) {
			t.Errorf("Get() = %v, want ErrNoSlot", err)
		}
		if err := s.Put(0); err != nil {
			t.Fatal(err)
		}
		if got := take(t, s); got != 0 {
			t.Errorf("Get() = %d, want 0", got)
		}
	})
}

// J2: 1000 at once get all of 0 to 999, and all are put back. J3 to J7: slots are consecutive, the
// lowest free one first, may be put back in any order, and are never given out twice, with many
// goroutines.
func TestSlotsAtOnce(t *testing.T) {
	s := new(Slots)
	const workers = 1000
	var wg sync.WaitGroup
	var mu sync.Mutex
	held := map[int]bool{}
	all := make([]int, workers)
	for i := range workers {
		wg.Go(func() {
			for range 20 {
				slot, err := s.Get()
				mu.Lock()
				if err != nil || held[slot] || slot >= workers {
					t.Errorf("Get() = %d, %v; held: %v", slot, err, held[slot])
				}
				held[slot] = true
				mu.Unlock()
				mu.Lock()
				delete(held, slot)
				mu.Unlock()
				if err := s.Put(slot); err != nil {
					t.Errorf("Put(%d) = %v", slot, err)
				}
			}
			all[i], _ = s.Get()
		})
	}
	wg.Wait()
	slices.Sort(all)
	for want, got := range all {
		if got != want {
			t.Fatalf("slot %d is %d", want, got)
		}
	}
	if s.Len() != workers {
		t.Errorf("Len() = %d, want %d", s.Len(), workers)
	}
}

func BenchmarkSlots(b *testing.B) {
	s := new(Slots)
	for range 10000 {
		take(b, s)
	}
	for b.Loop() {
		_ = s.Put(5000)
		take(b, s)
	}
}

// FuzzSlots checks that Slots gives out the same as a map and a search from 0, for any order of
// calls. A byte is a Get, or else a Put of its other bits.
func FuzzSlots(f *testing.F) {
	f.Add([]byte{0, 0, 0, 3, 0, 1, 1, 5, 7, 0, 0}, uint8(0))
	f.Add([]byte{0, 0, 0, 0, 5, 3, 0, 0}, uint8(3))
	f.Fuzz(func(t *testing.T, calls []byte, most uint8) {
		s := Slots{Max: int(most)}
		out := map[int]bool{}
		for i, call := range calls {
			if slot := int(call >> 1); call&1 == 1 {
				if err := s.Put(slot); (err == nil) != out[slot] {
					t.Fatalf("call %d: Put(%d) = %v, given out: %t", i, slot, err, out[slot])
				}
				delete(out, slot)
				continue
			}
			want := 0
			for out[want] {
				want++
			}
			got, err := s.Get()
			switch full := most > 0 && len(out) >= int(most); {
			case full != (err != nil):
				t.Fatalf("call %d: Get() = %v with %d of %d given out", i, err, len(out), most)
			case full:
			case got != want:
				t.Fatalf("call %d: Get() = %d, want %d", i, got, want)
			default:
				out[got] = true
			}
			if s.Len() != len(out) {
				t.Fatalf("call %d: Len() = %d, want %d", i, s.Len(), len(out))
			}
		}
	})
}
