package loop

import "time"

// wheelSize is the number of buckets, and so how many ticks ahead a deadline can be. A later one is
// checked early and put back.
const wheelSize = 512

// wheel holds the deadlines of a poller's connections, in milliseconds, rounded up to a tick. It
// costs a connection ten bytes and no timer.
type wheel struct {
	slots   *slotTable
	tick    uint64 // length in milliseconds
	at      uint64 // ticks up to here have been looked at
	n       int
	buckets [wheelSize]link // the first connection of each list
}

// A link is the slot of the neighbor in a list of the wheel, plus one. Zero means none.
type link int32

func linkTo(c *epollConn) link { return link(c.slot + 1) }

// conn returns the connection that l, which is not zero, leads to.
func (w *wheel) conn(l link) *epollConn { return w.slots.at(int32(l - 1)).conn }

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
func (w *wheel) put(c *epollConn, t, now uint64) uint64 {
	w.remove(c)
	if w.n == 0 {
		w.at = now / w.tick
	}
	ahead := min(max((t+w.tick-1)/w.tick, w.at+1)-w.at, wheelSize-1)
	b := (w.at + ahead) % wheelSize
	c.bucket = uint16(b + 1)
	head := &w.buckets[b]
	if c.next = *head; c.next != 0 {
		w.conn(c.next).prev = linkTo(c)
	}
	*head = linkTo(c)
	w.n++
	return (w.at + ahead) * w.tick
}

// looksBy reports whether the wheel releases c by t.
func (w *wheel) looksBy(c *epollConn, t uint64) bool {
	ahead := (uint64(c.bucket) - 1 + wheelSize - w.at%wheelSize) % wheelSize
	return c.bucket != 0 && (w.at+ahead)*w.tick <= t+w.tick
}

func (w *wheel) remove(c *epollConn) {
	if c.bucket == 0 {
		return
	}
	if c.prev != 0 {
		w.conn(c.prev).next = c.next
	} else {
		w.buckets[c.bucket-1] = c.next
	}
	if c.next != 0 {
		w.conn(c.next).prev = c.prev
	}
	c.next, c.prev, c.bucket = 0, 0, 0
	w.n--
}

// first returns when the next bucket that is not empty is due.
func (w *wheel) first() (t uint64, ok bool) {
	if w.n == 0 {
		return 0, false
	}
	for i := uint64(1); i < wheelSize; i++ {
		if w.buckets[(w.at+i)%wheelSize] != 0 {
			return (w.at + i) * w.tick, true
		}
	}
	return (w.at + 1) * w.tick, true
}

// advance removes all connections due by now and appends them to late.
func (w *wheel) advance(now uint64, late []*epollConn) []*epollConn {
	for end := now / w.tick; w.at < end && w.n > 0; {
		w.at++
		for b := w.at % wheelSize; w.buckets[b] != 0; {
			c := w.conn(w.buckets[b])
			w.remove(c)
			late = append(late, c)
		}
	}
	return late
}
