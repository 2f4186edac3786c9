package loop

import (
	"math/rand/v2"
	"testing"
)

// newTestWheel returns a wheel for n connections.
func newTestWheel(tick uint64, n int) (*wheel, []*epollConn) {
	w, cs := &wheel{tick: tick, slots: &slotTable{}}, make([]*epollConn, n)
	for i := range cs {
		cs[i] = &epollConn{}
		w.slots.add(cs[i])
	}
	return w, cs
}

// dueAt returns when the wheel releases each connection if advanced every millisecond up to end.
func dueAt(w *wheel, from, end uint64) map[*epollConn]uint64 {
	due := map[*epollConn]uint64{}
	for now := from; now <= end; now++ {
		if t, ok := w.first(); !ok || t > now {
			continue
		}
		for _, c := range w.advance(now, nil) {
			due[c] = now
		}
	}
	return due
}

func TestWheel(t *testing.T) {
	const tick = 10
	far := uint64((wheelSize - 1) * tick)
	tests := []struct {
		name     string
		now, t   uint64
		min, max uint64
	}{
		{"soon", 0, 25, 25, 30},
		{"on a tick", 0, 30, 30, 30},
		{"now", 1000, 1000, 1001, 1010},
		{"in the past", 1000, 20, 1001, 1010},
		{"as far as it goes", 0, far, far, far},
		{"too far: looked at earlier", 0, 10 * far, far - tick, far},
		{"behind the wrap", 5000, 5000 + far/2, 5000 + far/2, 5000 + far/2 + tick},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w, cs := newTestWheel(tick, 1)
			c := cs[0]
			w.put(c, tt.t, tt.now)
			got, ok := dueAt(w, tt.now, tt.now+2*far)[c]
			if !ok || got < tt.min || got > tt.max {
				t.Errorf("due at %d, %t, want %d to %d", got, ok, tt.min, tt.max)
			}
			if w.n != 0 || c.bucket != 0 {
				t.Errorf("n = %d after the last one", w.n)
			}
		})
	}
}

func TestWheelRemove(t *testing.T) {
	w, cs := newTestWheel(10, 5)
	for i := range cs {
		w.put(cs[i], 100, 0)
	}
	for _, i := range []int{0, 4, 2, 2} {
		w.remove(cs[i])
	}
	w.put(cs[3], 300, 0) // later than before
	if due := dueAt(w, 0, 1000); len(due) != 2 || due[cs[1]] != 100 || due[cs[3]] != 300 {
		t.Errorf("due %v", due)
	}
	if _, ok := w.first(); ok {
		t.Error("something is left")
	}
}

// A wheel that was not advanced for a long time then releases everything at once.
func TestWheelSleeps(t *testing.T) {
	w, cs := newTestWheel(10, 600)
	for i := range cs {
		w.put(cs[i], uint64(10*i), 0)
	}
	if got := len(w.advance(1_000_000, nil)); got != len(cs) {
		t.Errorf("%d are due, want %d", got, len(cs))
	}
	w.put(cs[0], 1_000_020, 1_000_000)
	if got := dueAt(w, 1_000_000, 1_001_000)[cs[0]]; got != 1_000_020 {
		t.Errorf("due at %d, want 1000020", got)
	}
}

func TestWheelLooksBy(t *testing.T) {
	w, cs := newTestWheel(10, 1)
	c := cs[0]
	if w.looksBy(c, 1000) {
		t.Error("looksBy() = true for one that is not there")
	}
	w.put(c, 500, 0)
	for _, tt := range []struct {
		t    uint64
		want bool
	}{{100, false}, {480, false}, {500, true}, {1000, true}} {
		if got := w.looksBy(c, tt.t); got != tt.want {
			t.Errorf("looksBy(%d) = %t, want %t", tt.t, got, tt.want)
		}
	}
}

// No connection is released more than one tick late, whatever else is put in and removed.
func TestWheelRandomly(t *testing.T) {
	const tick = 7
	rnd := rand.New(rand.NewPCG(1, 2))
	w, cs := newTestWheel(tick, 50)
	want := map[*epollConn]uint64{}
	for now := uint64(1); now < 50_000; now++ {
		c := cs[rnd.IntN(len(cs))]
		switch rnd.IntN(4) {
		case 0:
			at := now + rnd.Uint64N(2*wheelSize*tick)
			w.put(c, at, now)
			want[c] = at
		case 1:
			w.remove(c)
			delete(want, c)
		}
		for _, c := range w.advance(now, nil) {
			if at, ok := want[c]; !ok || now > at+2*tick {
				t.Fatalf("at %d: %d was due, %t", now, at, ok)
			}
			delete(want, c)
		}
	}
	for c, at := range want {
		if at+2*tick < 50_000 || c.bucket == 0 {
			t.Errorf("due at %d and still there: %t", at, c.bucket != 0)
		}
	}
}
