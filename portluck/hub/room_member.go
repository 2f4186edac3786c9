package hub

import (
	"math"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/loop"
)

// feeder is a stream that takes messages that are framed already.
type feeder interface {
	Framing() handlers.Framing
	Feed(p []byte, f loop.FrameSource) (n int, err error)
}

// membership is a client's place in a room.
type membership struct {
	client  *Client
	log     *framedLog // without a framing if the client's stream takes one message at a time
	group   *group
	next    uint64      // number of the first message that the client has yet to get
	sibling *membership // the client's next membership, in another room; under hub.mu
	at      int32       // index in group.members
	waiting bool        // the stream is full, and will call Drained
	left    bool        // removed from the group
	lost    bool        // the client is being ended: it gets nothing more
}

// group is a part of a room's members. One goroutine at a time delivers to it.
type group struct {
	room    *Room
	running bool          // a delivery is running; under room.mu
	again   bool          // the delivery must visit all members once more; under room.mu
	low     atomic.Uint64 // no member's next is less; noMembers if there is none

	mu      sync.Mutex
	members []*membership
	batch   batch     // of the running delivery
	seen    int       // number of members that the running visit has served, from the first on
	lowest  uint64    // least next of those; 0 if there is no visit
	due     time.Time // when the first of them exceeds MaxLatency; zero if none will
}

// batch is what a delivery sends: the messages of the ring when it began, framed for some members.
type batch struct {
	first, next uint64
	messages    []published
	log         *framedLog
	segment     segment // of log
	base        int     // offset in segment.buf of what is being fed
}

// groupSize is the number of members from which on a room has a group for each processor.
const groupSize = 256

// noMembers is the low of a group without members.
const noMembers = math.MaxUint64

// groupLocked returns the group for a new member.
func (r *Room) groupLocked() *group {
	n, count := 1, int(r.members.Load())
	if count >= groupSize {
		n = runtime.GOMAXPROCS(0)
	}
	for len(r.groups) < n {
		g := &group{room: r}
		g.low.Store(noMembers)
		r.groups = append(r.groups[:len(r.groups):len(r.groups)], g)
	}
	return r.groups[count%n]
}

// add makes m a member and sends it the messages that it joins behind.
func (g *group) add(m *membership, framing handlers.Framing, since *handlers.Position) (complete bool, err error) {
	g.mu.Lock()
	low := g.low.Load()
	if complete, err = g.admitLocked(m, framing, since); err != nil {
		g.mu.Unlock()
		return false, err
	}
	var slow []slowMember
	if m.next < g.batch.next {
		slow = g.serve(m, nil)
		g.low.Store(min(low, m.next))
	}
	g.servedLocked()
	g.mu.Unlock()
	g.room.applyPolicies(slow)
	return complete, nil
}

// admitLocked makes m a member. From then on the room keeps the messages that m has yet to get.
func (g *group) admitLocked(m *membership, framing handlers.Framing, since *handlers.Position) (complete bool, err error) {
	r := g.room
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.dead {
		return false, errForgotten
	}
	m.group = g
	if err := m.client.enter(m); err != nil {
		return false, err
	}
	m.log = r.ring.logFor(framing)
	m.next, complete = r.ring.next-min(r.ring.next-r.ring.first, r.opts.history()), true
	if since != nil {
		m.next, complete = r.resumeLocked(*since)
	}
	r.members.Add(1)
	m.at = int32(len(g.members))
	g.members = append(g.members, m)
	g.low.Store(min(g.low.Load(), m.next))
	g.batch = r.batchLocked(m.log)
	return complete, nil
}

// leave ends the membership. The client has removed it from its rooms before.
func (m *membership) leave() {
	r := m.group.room
	if m.remove() {
		r.wake(m.group)
	}
	if r.members.Add(-1) == 0 {
		r.forget()
	}
}

// remove removes m from its group. It reports whether the room may have kept messages for it.
func (m *membership) remove() (kept bool) {
	g := m.group
	r := g.room
	g.mu.Lock()
	defer g.mu.Unlock()
	g.removeLocked(m)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ring.leave(m.log)
	r.trimLocked()
	return m.next < r.ring.next && g.holdsLocked(m.next)
}

// removeLocked fills the place of m with another member. It keeps the members that a running visit
// has served in front.
func (g *group) removeLocked(m *membership) {
	m.left = true
	at, last := int(m.at), len(g.members)-1
	if at < g.seen {
		g.seen--
		g.moveLocked(g.seen, at)
		at = g.seen
	}
	if at < last {
		g.moveLocked(last, at)
	}
	g.members[last] = nil
	if g.members = g.members[:last]; last == 0 {
		g.low.Store(noMembers)
	}
}

func (g *group) moveLocked(from, to int) {
	g.members[to] = g.members[from]
	g.members[to].at = int32(to)
}

// holdsLocked reports whether the room may have kept the messages from next on for a member whose
// next that was.
func (g *group) holdsLocked(next uint64) bool { return next <= max(g.low.Load(), g.lowest) }

// take gives m's stream as much of b as it takes.
func (m *membership) take(b *batch) {
	if m.log.framing != nil {
		m.feed(b)
		return
	}
	m.send(b)
}

// feed gives the stream framed messages.
func (m *membership) feed(b *batch) {
	b.base = b.segment.begin(m.next)
	n, err := m.client.stream.(feeder).Feed(b.segment.buf[b.base:], m)
	m.client.sent(n)
	switch {
	case err != nil:
		m.next, m.lost = b.next, true
	case b.base+n == len(b.segment.buf):
		m.next = b.next
	default:
		m.next = b.segment.after(b.base + n)
		m.waiting = true
	}
}

// End is [loop.FrameSource.End].
func (m *membership) End(n int) int {
	b := &m.group.batch
	return b.segment.end(b.base+n) - b.base
}

// send sends one message after the other.
func (m *membership) send(b *batch) {
	for _, msg := range b.messages[m.next-b.first:] {
		switch err := m.client.stream.TrySend(msg.data, msg.kind); {
		case err == handlers.ErrSlow:
			m.waiting = true
			time.AfterFunc(retrySlow, m.Drained)
			return
		case err != nil:
			m.next, m.lost = b.next, true
			return
		}
		m.client.sent(len(msg.data))
		m.next++
	}
}

// retrySlow is the time until a full stream that is no feeder is tried again.
const retrySlow = 50 * time.Millisecond

// Drained is [loop.Drainer.Drained]: the stream of m takes messages again.
func (m *membership) Drained() {
	slow, kept := m.resume()
	m.group.room.applyPolicies(slow)
	if kept {
		m.group.room.wake(m.group)
	}
}

// resume serves m. It reports whether the room may have kept for m what m has got by now.
func (m *membership) resume() (slow []slowMember, kept bool) {
	g := m.group
	g.mu.Lock()
	defer g.mu.Unlock()
	m.waiting = false
	before := m.next
	if !m.left {
		g.batch = batch{}
		slow = g.serve(m, nil)
		g.servedLocked()
	}
	return slow, g.holdsLocked(before)
}
