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

// feeder is a stream that takes framed messages as they are.
type feeder interface {
	Framing() handlers.Framing
	Feed(p []byte, f loop.Fed) (n int, err error)
}

// seat is the place of a client in a room.
type seat struct {
	client  *Client
	tape    *tape // its framing is nil: the client's stream takes one message at a time
	group   *group
	next    uint64 // the first message that it has not got
	sibling *seat  // the client in its other rooms; under hub.mu
	at      int32  // in group.members
	waiting bool   // Drained will be called
	left    bool   // it is no member any more
	lost    bool   // it is about to leave
}

// group is a part of a room's members, to which one goroutine at a time delivers.
type group struct {
	room    *Room
	running bool          // somebody delivers; under room.mu
	again   bool          // who delivers is to visit all once more; under room.mu
	low     atomic.Uint64 // no member has got less

	mu      sync.Mutex
	members []*seat
	pass    passing   // of the delivery that is running
	seen    int       // members that the visit that is running has been to: the first
	lowest  uint64    // none of them has got less; 0 if there is no visit
	due     time.Time // when a member will be too late, of those that were served; zero if none will
}

// passing is what is delivered.
type passing struct {
	first, next uint64
	messages    []published
	tape        *tape
	cut         cut // of tape
	base        int // where in cut what is being fed begins
}

// groupSize is how many members the first group has before there are others.
const groupSize = 256

// nobody is the low of a group without members.
const nobody = math.MaxUint64

// groupLocked is the group of a new member.
func (r *Room) groupLocked() *group {
	n, count := 1, int(r.members.Load())
	if count >= groupSize {
		n = runtime.GOMAXPROCS(0)
	}
	for len(r.groups) < n {
		g := &group{room: r}
		g.low.Store(nobody)
		r.groups = append(r.groups[:len(r.groups):len(r.groups)], g)
	}
	return r.groups[count%n]
}

// add makes m a member, and gives it what it is behind.
func (g *group) add(m *seat, framing handlers.Framing, since *handlers.Position) (complete bool, err error) {
	g.mu.Lock()
	low := g.low.Load()
	if complete, err = g.admitLocked(m, framing, since); err != nil {
		g.mu.Unlock()
		return false, err
	}
	var slow []slowMember
	if m.next < g.pass.next {
		slow = g.serve(m, nil)
		g.low.Store(min(low, m.next))
	}
	g.restLocked()
	g.mu.Unlock()
	for _, s := range slow {
		g.room.tellSlow(s)
	}
	return complete, nil
}

// admitLocked makes m a member. From then on nothing is given up that it has not got.
func (g *group) admitLocked(m *seat, framing handlers.Framing, since *handlers.Position) (complete bool, err error) {
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
	m.tape = r.ring.tapeOf(framing)
	m.next, complete = r.ring.next-min(r.ring.next-r.ring.first, r.opts.history()), true
	if since != nil {
		m.next, complete = r.resumeLocked(*since)
	}
	r.members.Add(1)
	m.at = int32(len(g.members))
	g.members = append(g.members, m)
	g.low.Store(min(g.low.Load(), m.next))
	g.pass = r.passLocked(m.tape)
	return complete, nil
}

// leave ends a membership that its client knows no more.
func (m *seat) leave() {
	r := m.group.room
	if m.remove() {
		r.wake(m.group)
	}
	if r.members.Add(-1) == 0 {
		r.forget()
	}
}

// remove takes m out. It reports whether messages may have been kept for it.
func (m *seat) remove() (kept bool) {
	g := m.group
	r := g.room
	g.mu.Lock()
	defer g.mu.Unlock()
	g.removeLocked(m)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ring.leave(m.tape)
	r.trimLocked()
	return m.next < r.ring.next && g.holdsLocked(m.next)
}

// removeLocked takes m out, and another one into its place. A visit that is running has still been
// to the first ones.
func (g *group) removeLocked(m *seat) {
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
		g.low.Store(nobody)
	}
}

func (g *group) moveLocked(from, to int) {
	g.members[to] = g.members[from]
	g.members[to].at = int32(to)
}

// holdsLocked says that the messages from next on may be kept for a member that has not got them.
func (g *group) holdsLocked(next uint64) bool { return next <= max(g.low.Load(), g.lowest) }

// take gives m's stream what there is.
func (m *seat) take(p *passing) {
	if m.tape.framing != nil {
		m.feed(p)
		return
	}
	m.send(p)
}

// feed writes what is framed already.
func (m *seat) feed(p *passing) {
	p.base = p.cut.begin(m.next)
	n, err := m.client.stream.(feeder).Feed(p.cut.buf[p.base:], m)
	m.client.sent(n)
	switch {
	case err != nil:
		m.next, m.lost = p.next, true
	case p.base+n == len(p.cut.buf):
		m.next = p.next
	default:
		m.next = p.cut.after(p.base + n)
		m.waiting = true
	}
}

// End is [loop.Fed.End].
func (m *seat) End(n int) int {
	p := &m.group.pass
	return p.cut.end(p.base+n) - p.base
}

// send sends one message after the other.
func (m *seat) send(p *passing) {
	for _, msg := range p.messages[m.next-p.first:] {
		switch err := m.client.stream.TrySend(msg.data, msg.kind); {
		case err == handlers.ErrSlow:
			m.waiting = true
			time.AfterFunc(retrySlow, m.Drained)
			return
		case err != nil:
			m.next, m.lost = p.next, true
			return
		}
		m.client.sent(len(msg.data))
		m.next++
	}
}

// retrySlow is when a stream is tried again that cannot tell when it has room.
const retrySlow = 50 * time.Millisecond

// Drained is [loop.Feeder.Drained]: m takes more.
func (m *seat) Drained() {
	slow, kept := m.resume()
	for _, s := range slow {
		m.group.room.tellSlow(s)
	}
	if kept {
		m.group.room.wake(m.group)
	}
}

// resume feeds m again. It reports whether what it has got by now may have been kept for it.
func (m *seat) resume() (slow []slowMember, kept bool) {
	g := m.group
	g.mu.Lock()
	defer g.mu.Unlock()
	m.waiting = false
	before := m.next
	if !m.left {
		g.pass = passing{}
		slow = g.serve(m, nil)
		g.restLocked()
	}
	return slow, g.holdsLocked(before)
}
