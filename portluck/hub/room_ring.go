package hub

import (
	"bytes"
	"slices"
	"sort"
	"time"

	"github.com/portluck/portluck/handlers"
)

// ring has the messages of a room that somebody has not got yet, or that are its history. They are
// numbered from 1.
type ring struct {
	epoch       uint64 // of the room
	first, next uint64 // those kept, and the one after them
	messages    []published
	bytes       int
	tapes       []*tape
	failed      error // the panic of a framing, until it is logged
}

// published is a message in a ring.
type published struct {
	data []byte
	kind handlers.Kind
	at   time.Time
}

// tape is the messages of a ring in one framing, one behind the other: any number of them can be
// written at once. What it has given out is not changed when it goes on.
type tape struct {
	framing handlers.Framing // nil: each member frames for itself
	used    int              // members
	cut
}

// cut is a part of a tape.
type cut struct {
	first uint64 // the number of the first message
	start int    // where it begins in buf
	buf   []byte
	ends  []int // where each message ends in buf
}

// append adds a message. It returns the copy of its data that is kept, which nobody changes.
func (g *ring) append(m handlers.Message) []byte {
	data := bytes.Clone(m.Data)
	g.messages = append(g.messages, published{data: data, kind: m.Kind, at: time.Now()})
	g.bytes += len(data)
	for _, t := range g.tapes {
		g.add(t, g.next, data, m.Kind)
	}
	g.next++
	return data
}

// add adds a message to a tape. One whose framing panics has no bytes there.
func (g *ring) add(t *tape, seq uint64, data []byte, k handlers.Kind) {
	size := len(t.buf)
	if err := handlers.Guard(func() { t.append(handlers.Position{Epoch: g.epoch, Seq: seq}, data, k) }); err != nil {
		g.failed = err
		t.ends = append(t.ends, size)
	}
}

// tapeOf is the tape of a framing, from the first message that is kept on.
func (g *ring) tapeOf(f handlers.Framing) *tape {
	for _, t := range g.tapes {
		if t.framing == f {
			t.used++
			return t
		}
	}
	t := &tape{framing: f, used: 1, cut: cut{first: g.first}}
	for i, m := range g.messages {
		g.add(t, g.first+uint64(i), m.data, m.kind)
	}
	g.tapes = append(g.tapes, t)
	return t
}

// leave is the end of a member of t.
func (g *ring) leave(t *tape) {
	if t.used--; t.used == 0 {
		g.tapes = slices.DeleteFunc(g.tapes, func(o *tape) bool { return o == t })
	}
}

// full says that another message is one too many.
func (g *ring) full(o *RoomOptions) bool {
	n := len(g.messages)
	return n > 0 && (n >= o.ring() || g.bytes >= o.ringBytes())
}

// bound gives up the oldest messages when there are too many.
func (g *ring) bound(o *RoomOptions) {
	n, size := 0, g.bytes
	for len(g.messages)-n > 1 && (len(g.messages)-n > o.ring() || size > o.ringBytes()) {
		size -= len(g.messages[n].data)
		n++
	}
	g.drop(g.first + uint64(n))
}

// makeRoom gives up messages before low, oldest first, while there is no room for another one. It
// is false when there is still none.
func (g *ring) makeRoom(o *RoomOptions, low uint64) bool {
	n, size := 0, g.bytes
	for n < len(g.messages) && g.first+uint64(n) < low && (len(g.messages)-n >= o.ring() || size >= o.ringBytes()) {
		size -= len(g.messages[n].data)
		n++
	}
	g.drop(g.first + uint64(n))
	return !g.full(o)
}

// drop gives up the messages before the number to. A delivery may still be reading them: they are
// left as they are.
func (g *ring) drop(to uint64) {
	if to <= g.first {
		return
	}
	n := int(to - g.first)
	for i := range g.messages[:n] {
		g.bytes -= len(g.messages[i].data)
	}
	g.first = to
	switch g.messages = g.messages[n:]; {
	case len(g.messages) == 0:
		g.messages = nil
	case n >= len(g.messages):
		g.messages = slices.Clone(g.messages) // those in front are kept with them
	}
	for _, t := range g.tapes {
		t.drop(to)
	}
}

// from returns the messages from the number n on.
func (g *ring) from(n uint64) []published {
	if n >= g.next {
		return nil
	}
	return g.messages[n-g.first:]
}

func (t *tape) append(at handlers.Position, data []byte, k handlers.Kind) {
	if t.framing == nil {
		t.first = min(t.first, at.Seq)
		return
	}
	if len(t.ends) == 0 {
		t.first, t.start = at.Seq, len(t.buf)
	}
	if f, ok := t.framing.(handlers.PositionFraming); ok {
		t.buf = f.AppendMessageAt(t.buf, data, k, at)
	} else {
		t.buf = t.framing.AppendMessage(t.buf, data, k)
	}
	t.ends = append(t.ends, len(t.buf))
}

// drop gives up the messages before to. The memory of the others is copied when most of it is of no
// use.
func (t *tape) drop(to uint64) {
	switch n := int(to - t.first); {
	case n <= 0 || t.framing == nil:
		return
	case n >= len(t.ends):
		t.cut = cut{first: to}
		return
	default:
		t.start, t.ends, t.first = t.ends[n-1], t.ends[n:], to
	}
	if t.start < len(t.buf)/2 {
		return
	}
	ends := make([]int, len(t.ends))
	for i, e := range t.ends {
		ends[i] = e - t.start
	}
	t.cut = cut{first: t.first, buf: bytes.Clone(t.buf[t.start:]), ends: ends}
}

// begin is where the message of this number begins in buf.
func (c *cut) begin(seq uint64) int {
	if seq == c.first {
		return c.start
	}
	return c.ends[seq-c.first-1]
}

// end is the least end of a message that is not less than at.
func (c *cut) end(at int) int { return c.ends[sort.SearchInts(c.ends, at)] }

// after is the number of the first message that ends after at.
func (c *cut) after(at int) uint64 { return c.first + uint64(sort.SearchInts(c.ends, at+1)) }
