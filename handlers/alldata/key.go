package alldata

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

// KeyLen is the length of a key that [NewKey] or a [Keygen] makes.
const KeyLen = 27

// NewKey returns the key of an event at t: the time in UTC as YYYYMMDDThhmmss and twelve digits of
// the fraction of the second, the last three of them zero. Keys sort as their times do, for years
// of four digits. Two events in one nanosecond get the same key; a [Keygen] gives each a key of its
// own.
func NewKey(t time.Time) string { return newKey(t, 0) }

func newKey(t time.Time, rest int) string {
	t = t.UTC()
	return fmt.Sprintf("%s%09d%03d", t.Format("20060102T150405"), t.Nanosecond(), rest)
}

// A Keygen makes keys for events that happen now. Each key is greater than the one before, even if
// the clock stands still or goes back. The last three digits begin at random, so that two machines
// hardly ever make the same key. The zero value is ready to use. Several goroutines may use it at
// once.
type Keygen struct {
	// Now is the clock; time.Now if nil.
	Now func() time.Time

	mu   sync.Mutex
	last time.Time
	rest int
}

// Next returns a new key.
func (g *Keygen) Next() string {
	now := time.Now
	if g.Now != nil {
		now = g.Now
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	switch t := now().Round(0); { // without the monotonic clock, which keys do not contain
	case t.After(g.last):
		g.last, g.rest = t, rand.IntN(1000)
	case g.rest < 999:
		g.rest++
	default:
		g.last, g.rest = g.last.Add(1), 0
	}
	return newKey(g.last, g.rest)
}
