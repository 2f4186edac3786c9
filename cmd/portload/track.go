package main

import (
	"bytes"
	"encoding/hex"
	"maps"
	"slices"
	"time"
)

// mark begins a published message. The number of the message and the time of sending follow, in
// hexadecimal digits.
const mark = "portload:"

// markSize is the length of the shortest published message.
const markSize = len(mark) + 32

// published returns message seq, of size bytes. It reuses buf if that has the size. Message 0 only
// shows which members have joined.
func published(buf []byte, size int, seq int64, now time.Time) []byte {
	if len(buf) != size {
		buf = bytes.Repeat([]byte{'.'}, size)
	}
	copy(buf, mark)
	var b [16]byte
	for i := range 8 {
		b[i] = byte(seq >> (56 - 8*i))              //nolint:gosec // a byte of it
		b[8+i] = byte(now.UnixNano() >> (56 - 8*i)) //nolint:gosec // a byte of it
	}
	hex.Encode(buf[len(mark):], b[:])
	return buf
}

// parsePublished finds a published message in msg: servers may say more around it.
func parsePublished(msg []byte) (seq int64, sent time.Time, ok bool) {
	i := bytes.Index(msg, []byte(mark))
	if i < 0 || len(msg) < i+markSize {
		return 0, time.Time{}, false
	}
	var b [16]byte
	if _, err := hex.Decode(b[:], msg[i+len(mark):i+markSize]); err != nil {
		return 0, time.Time{}, false
	}
	var nanos int64
	for i := range 8 {
		seq = seq<<8 | int64(b[i])
		nanos = nanos<<8 | int64(b[8+i])
	}
	return seq, time.Unix(0, nanos), true
}

// A track records which messages one member has received.
type track struct {
	last int64  // the highest
	seen uint64 // bit i is last-i
}

// newTrack returns a track after message 0, with nothing missing.
func newTrack() track { return track{seen: ^uint64(0)} }

// take records message seq, and counts it in d.
func (t *track) take(seq int64, d *delivery) {
	ahead := seq - t.last
	switch {
	case ahead > 0:
		t.seen = t.seen<<min(ahead, 64) | 1
		t.last = seq
		d.Messages++
		d.skip(ahead - 1)
	case ahead > -64 && t.seen&(1<<-ahead) == 0: // it was counted as lost
		t.seen |= 1 << -ahead
		d.Messages++
		d.Lost--
		d.Late++
	default:
		d.Doubled++
	}
}

// A floor finds the lowest of the last messages that members have.
type floor struct {
	last  map[int64]int64 // how many members have each as their last
	least int64           // what lowest found before
}

func newFloor() floor { return floor{last: map[int64]int64{}} }

// enter adds a member whose last message is seq.
func (f *floor) enter(seq int64) { f.last[seq]++ }

// leave removes one.
func (f *floor) leave(seq int64) {
	if f.last[seq]--; f.last[seq] == 0 {
		delete(f.last, seq)
	}
}

// lowest returns the lowest last message. There must be a member. The result never decreases.
func (f *floor) lowest() int64 {
	switch {
	case f.last[f.least] > 0:
	case f.last[f.least+1] > 0:
		f.least++
	default:
		f.least = slices.Min(slices.Collect(maps.Keys(f.last)))
	}
	return f.least
}

// delivery counts what the members of a fan-out have received.
type delivery struct {
	Messages    int64
	Lost        int64 // by members that are still connected
	Gaps        int64 // times that one or more were missing in a row
	Doubled     int64
	Late        int64 // after one with a higher number
	Gone        int64 // members that the server has disconnected
	Missed      int64 // messages after that
	StuckClosed int64 // of those that never read
	Last        int64 // when the last message came, in nanoseconds
}

func (d *delivery) skip(n int64) {
	if n > 0 {
		d.Lost += n
		d.Gaps++
	}
}

func (d *delivery) add(o delivery) {
	d.Messages += o.Messages
	d.Lost += o.Lost
	d.Gaps += o.Gaps
	d.Doubled += o.Doubled
	d.Late += o.Late
	d.Gone += o.Gone
	d.Missed += o.Missed
	d.StuckClosed += o.StuckClosed
	d.Last = max(d.Last, o.Last)
}
