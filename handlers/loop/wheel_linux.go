package loop

import "time"

// wheelSize is the number of buckets, and so how many ticks ahead a deadline can be. A later one is
// checked early and put back.
const wheelSize = 512

// wheel holds the deadlines of a poller's connections, in milliseconds, rounded up to a tick. It
// costs a connection two pointers and no timer.
type wheel struct {
	tick    uint64 // length in milliseconds
	at      uint64 // ticks up to here have been looked at
	n       int
	buckets [wheelSize]*polled
}

// tickOf returns a tick that is fine enough for the shortest bound of the loop.
func tickOf(l *Loop) uint64 {
	least := closeWait
	for _, d := range []time.Duration{l.Timeout, l.HandshakeTimeout, l.MessageTimeout, l.PingInterval, lingerTime} {
		if d > 0 {
			least = min(least, d)
		}
	}
	return uint64(max(least/16, 4*time.Millisecond) / time.Millisecond)
}

// put schedules a look at c at t or earlier, and returns when. c may be in the wheel already.
func (w *wheel) put(c *polled, t, now uint64) uint64 {
	w.remove(c)
	if w.n == 0 {
		w.at = now / w.tick
	}
	ahead := min(max((t+w.tick-1)/w.tick, w.at+1)-w.at, wheelSize-1)
	c.bucket = uint16((w.at + ahead) % wheelSize)
	head := &w.buckets[c.bucket]
	c.later, c.sooner = *head, nil
	if *head != nil {
		(*head).sooner = c
	}
	*head = c
	c.timed = true
	w.n++
	return (w.at + ahead) * w.tick
}

// looksBy reports whether the wheel releases c by t.
func (w *wheel) looksBy(c *polled, t uint64) bool {
	ahead := (uint64(c.bucket) + wheelSize - w.at%wheelSize) % wheelSize
	return c.timed && (w.at+ahead)*w.tick <= t+w.tick
}

func (w *wheel) remove(c *polled) {
	if !c.timed {
		return
	}
	if c.sooner != nil {
		c.sooner.later = c.later
	} else {
		w.buckets[c.bucket] = c.later
	}
	if c.later != nil {
		c.later.sooner = c.sooner
	}
	c.later, c.sooner, c.timed = nil, nil, false
	w.n--
}

// first returns when the next bucket that is not empty is due.
func (w *wheel) first() (t uint64, ok bool) {
	if w.n == 0 {
		return 0, false
	}
	for i := uint64(1); i < wheelSize; i++ {
		if w.buckets[(w.at+i)%wheelSize] != nil {
			return (w.at + i) * w.tick, true
		}
	}
	return (w.at + 1) * w.tick, true
}

// advance removes all connections due by now and appends them to late.
func (w *wheel) advance(now uint64, late []*polled) []*polled {
	for end := now / w.tick; w.at < end && w.n > 0; {
		w.at++
		for b := w.at % wheelSize; w.buckets[b] != nil; {
			c := w.buckets[b]
			w.remove(c)
			late = append(late, c)
		}
	}
	return late
}
