package hub

import (
	"math"
	"runtime"
	"slices"
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
	mixed       bool    // some of messages are not for all members
}

// run returns the range of the next messages that are for c, at i or later, up to one that is not.
func (b *batch) run(i int, c *Client) (from, to int) {
	if !b.mixed {
		return i, len(b.messages)
	}
	for i < len(b.messages) && !b.messages[i].detail.isFor(c) {
		i++
	}
	for to = i; to < len(b.messages) && b.messages[to].detail.isFor(c); {
		to++
	}
	return i, to
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
func (g *group) add(m *membership, how *joining) (complete bool, err error) {
	g.mu.Lock()
	low := g.low.Load()
	if complete, err = g.admitLocked(m, how); err != nil {
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
func (g *group) admitLocked(m *membership, how *joining) (complete bool, err error) {
	r := g.room
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.dead || r.ring.aimedSince(how.asked) {
		return false, errAgain
	}
	m.group = g
	if err := m.client.enter(m); err != nil {
		return false, err
	}
	how.choose(m.client)
	r.joins++
	r.arrivedLocked(m)
	m.log = r.ring.logFor(how.framing)
	m.next, complete = r.historyLocked(), true
	if how.since != nil {
		m.next, complete = r.resumeLocked(*how.since)
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
	if len(r.ring.aimed) > 0 && !slices.Contains(m.client.Rooms(), r) { // it may have joined again
		r.ring.unaim(m.client)
	}
	r.partedLocked(m)
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

// take gives m's stream as much of b as it takes. It returns the number of messages.
func (m *membership) take(b *batch) (taken int) {
	for to := b.index(m.next); ; {
		var from int
		if from, to = b.run(to, m.client); from == to {
			m.next = b.next
			return taken
		}
		m.next = b.seq(from)
		if m.log.framing != nil {
			taken += m.feed(b, from, to)
		} else {
			taken += m.send(b, from, to)
		}
		if m.waiting || m.lost {
			return taken
		}
	}
}

// feed gives the stream the framed messages of the range. It returns how many it has taken.
func (m *membership) feed(b *batch, from, to int) (taken int) {
	end := b.segment.ends[to-1]
	b.base = b.segment.begin(from)
	n, err := m.client.stream.(feeder).Feed(b.segment.buf[b.base:end], m)
	m.client.sent(n)
	switch {
	case err != nil:
		m.next, m.lost = b.next, true
		return 0
	case b.base+n < end:
		to = b.segment.after(b.base + n)
		m.waiting = true
	}
	m.next = b.seq(to)
	return to - from
}

// End is [loop.FrameSource.End].
func (m *membership) End(n int) int {
	b := &m.group.batch
	return b.segment.end(b.base+n) - b.base
}

// send sends the messages of the range, one after the other. It returns how many were taken.
func (m *membership) send(b *batch, from, to int) (taken int) {
	for i, msg := range b.messages[from:to] {
		switch err := m.client.stream.TrySend(msg.data, msg.kind); {
		case err == handlers.ErrSlow:
			m.waiting = true
			time.AfterFunc(retrySlow, m.Drained)
			return taken
		case err != nil:
			m.next, m.lost = b.next, true
			return 0
		}
		m.client.sent(len(msg.data))
		m.next = b.seq(from + i + 1)
		taken++
	}
	return taken
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
