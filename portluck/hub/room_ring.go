package hub

import (
	"bytes"
	"slices"
	"sort"
	"time"

	"github.com/portluck/portluck/handlers"
)

// ring holds the messages of a room that a member has yet to get, and those of the room's history.
// Messages are numbered from 1.
type ring struct {
	epoch       uint64 // of the room
	first, next uint64 // numbers of the first message, and of the one to come
	messages    []published
	bytes       int // of data in messages
	logs        []*framedLog
	details     int                // messages that have a detail
	keys        map[string]*detail // of the newest message of each key
	replaced    int                // messages that are kept but replaced by a newer one of their key
	aimed       []*detail          // those of messages with To, in order
	ids         ids
	failed      error // the panic of a framing, until it is logged
}

// published is a message in a ring.
type published struct {
	data   []byte
	kind   handlers.Kind
	at     time.Time
	detail *detail // nil if the message is for all members
}

// framedLog holds the messages of a ring in one framing, back to back, so that one write can send
// any number of them. Appending does not change the bytes of a segment that was copied from it.
type framedLog struct {
	framing handlers.Framing // nil: each member frames for itself, and there are no bytes
	used    int              // members with this framing
	segment
}

// segment is a run of framed messages, each at the index that it has in ring.messages.
type segment struct {
	start int // offset of the first message in buf
	buf   []byte
	ends  []int // offset in buf where each message ends
}

// append adds a message and returns its copy of the data, which never changes.
func (g *ring) append(m handlers.Message, d *detail) []byte {
	data := bytes.Clone(m.Data)
	g.messages = append(g.messages, published{data: data, kind: m.Kind, at: time.Now(), detail: d})
	g.bytes += len(data)
	g.note(d)
	for _, l := range g.logs {
		g.add(l, g.next, data, m.Kind)
	}
	g.next++
	if g.replaced > fewReplaced && g.replaced > len(g.messages)/2 {
		g.compact()
	}
	return data
}

// add adds a message to l. If the framing panics the message has no bytes in l.
func (g *ring) add(l *framedLog, seq uint64, data []byte, k handlers.Kind) {
	size := len(l.buf)
	if err := handlers.Guard(func() { l.append(handlers.Position{Epoch: g.epoch, Seq: seq}, data, k) }); err != nil {
		g.failed = err
		l.ends = append(l.ends, size)
	}
}

// logFor returns the log of framing f for one more member. A new log begins with the first message
// of the ring.
func (g *ring) logFor(f handlers.Framing) *framedLog {
	for _, l := range g.logs {
		if l.framing == f {
			l.used++
			return l
		}
	}
	l := &framedLog{framing: f, used: 1}
	for i, m := range g.messages {
		g.add(l, g.seq(i), m.data, m.kind)
	}
	g.logs = append(g.logs, l)
	return l
}

// leave notes that a member no longer uses l.
func (g *ring) leave(l *framedLog) {
	if l.used--; l.used == 0 {
		g.logs = slices.DeleteFunc(g.logs, func(o *framedLog) bool { return o == l })
	}
}

// full reports whether the ring has no room for another message.
func (g *ring) full(o *RoomOptions) bool {
	n := len(g.messages)
	return n > 0 && (n >= o.ring() || g.bytes >= o.ringBytes())
}

// bound drops the oldest messages while there are more than o allows.
func (g *ring) bound(o *RoomOptions) {
	n, size, valid := 0, g.bytes, len(g.messages)-g.replaced
	for ; valid > 1 && (valid > o.ring() || size > o.ringBytes()); n++ {
		if m := &g.messages[n]; !m.detail.isReplaced() {
			size -= len(m.data)
			valid--
		}
	}
	g.drop(g.seq(n))
}

// makeRoom drops messages numbered below low, oldest first, until there is room for another one. It
// reports whether there is.
func (g *ring) makeRoom(o *RoomOptions, low uint64) bool {
	n, size := 0, g.bytes
	for n < len(g.messages) && g.first+uint64(n) < low && (len(g.messages)-n >= o.ring() || size >= o.ringBytes()) {
		size -= len(g.messages[n].data)
		n++
	}
	g.drop(g.first + uint64(n))
	return !g.full(o)
}

// drop drops the messages numbered below to. A delivery may still read them, so drop does not
// overwrite them.
func (g *ring) drop(to uint64) {
	if to <= g.first {
		return
	}
	n := g.index(to)
	to = g.after(n)
	for i := range g.messages[:n] {
		g.forget(&g.messages[i])
	}
	g.first = to
	switch g.messages = g.messages[n:]; {
	case len(g.messages) == 0:
		g.messages = nil
	case n >= len(g.messages):
		g.messages = slices.Clone(g.messages) // the array would keep the dropped ones alive
	}
	for _, l := range g.logs {
		l.drop(n)
	}
}

// from returns the messages numbered n and above.
func (g *ring) from(n uint64) []published {
	if n >= g.next {
		return nil
	}
	return g.messages[g.index(n):]
}

// young returns the number of the first message that is younger than age; the first if age is no
// bound.
func (g *ring) young(age time.Duration) uint64 {
	if age <= 0 {
		return g.first
	}
	oldest := time.Now().Add(-age)
	n := sort.Search(len(g.messages), func(i int) bool { return g.messages[i].at.After(oldest) })
	return g.after(n)
}

// append frames the message at this position.
func (l *framedLog) append(at handlers.Position, data []byte, k handlers.Kind) {
	if l.framing == nil {
		return
	}
	if len(l.ends) == 0 {
		l.start = len(l.buf)
	}
	if f, ok := l.framing.(handlers.PositionFraming); ok {
		l.buf = f.AppendMessageAt(l.buf, data, k, at)
	} else {
		l.buf = l.framing.AppendMessage(l.buf, data, k)
	}
	l.ends = append(l.ends, len(l.buf))
}

// drop drops the first n messages. Once most of buf is unused, it copies the rest to a smaller one.
func (l *framedLog) drop(n int) {
	switch {
	case n == 0 || l.framing == nil:
		return
	case n >= len(l.ends):
		l.segment = segment{}
		return
	default:
		l.start, l.ends = l.ends[n-1], l.ends[n:]
	}
	if l.start < len(l.buf)/2 {
		return
	}
	ends := make([]int, len(l.ends))
	for i, e := range l.ends {
		ends[i] = e - l.start
	}
	l.segment = segment{buf: bytes.Clone(l.buf[l.start:]), ends: ends}
}

// begin returns the offset in buf where message i begins.
func (s *segment) begin(i int) int {
	if i == 0 {
		return s.start
	}
	return s.ends[i-1]
}

// end returns the first offset in buf, from at on, where a message ends.
func (s *segment) end(at int) int { return s.ends[sort.SearchInts(s.ends, at)] }

// after returns the index of the first message that ends after offset at.
func (s *segment) after(at int) int { return sort.SearchInts(s.ends, at+1) }
