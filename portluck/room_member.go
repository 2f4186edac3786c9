package portluck

import (
	"math"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/portluck/internal/loop"
)

// feeder is a stream that takes framed messages as they are.
type feeder interface {
	Framing() handlers.Framing
	Feed(p []byte, f loop.Fed) (n int, err error)
}

// seat is the place of a client in a room.
type seat struct {
	room    *Room
	client  *Client
	feeder  feeder // nil: its stream takes one message at a time
	tape    *tape
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
	low     atomic.Uint64 // no member has got less

	mu      sync.Mutex
	members []*seat
	moved   bool    // members have changed places since they were last visited
	pass    passing // of the delivery that is running
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

// add makes m a member, and gives it what it is behind. It is false when the room was forgotten meanwhile.
func (g *group) add(m *seat, framing handlers.Framing, since *Position, complete *bool, err *error) bool {
	r := g.room
	g.mu.Lock()
	defer g.mu.Unlock()
	r.mu.Lock()
	if r.dead {
		r.mu.Unlock()
		return false
	}
	m.room, m.group = r, g
	if *err = m.client.enter(m); *err != nil {
		r.mu.Unlock()
		return true
	}
	m.tape = r.ring.tapeOf(framing)
	m.next = r.ring.next - min(r.ring.next-r.ring.first, r.opts.history())
	*complete = true
	if since != nil {
		m.next, *complete = r.resumeLocked(*since)
	}
	r.members.Add(1)
	m.at = int32(len(g.members))
	g.members = append(g.members, m)
	g.low.Store(min(g.low.Load(), m.next))
	behind := m.next < r.ring.next
	r.mu.Unlock()
	if behind {
		g.pass = passing{}
		g.serve(m, nil)
		g.pass = passing{}
	}
	return true
}

// leave ends a membership that its client knows no more.
func (m *seat) leave() {
	r, g := m.room, m.group
	g.mu.Lock()
	last := len(g.members) - 1
	g.members[m.at] = g.members[last]
	g.members[m.at].at = m.at
	g.members[last] = nil
	g.members = g.members[:last]
	m.left, g.moved = true, true
	if last == 0 {
		g.low.Store(nobody)
	}
	r.mu.Lock()
	r.ring.leave(m.tape)
	r.trimLocked()
	kept := r.ring.first < r.ring.next && m.next <= g.low.Load()
	r.mu.Unlock()
	g.mu.Unlock()
	if kept {
		r.wake(g) // what was kept for it
	}
	if r.members.Add(-1) == 0 {
		r.forget()
	}
}

// wake has g deliver what there is.
func (r *Room) wake(g *group) {
	r.mu.Lock()
	run := !g.running
	g.running = true
	r.mu.Unlock()
	if run {
		g.deliver()
	}
}

// restEvery is after how many members a delivery lets others have the processor.
const restEvery = 64

// deliver gives the members of g what they have not got, until there is nothing more, or they take no more.
func (g *group) deliver() {
	r := g.room
	for seen := uint64(0); ; {
		r.mu.Lock()
		r.trimLocked()
		if next := r.ring.next; seen == next {
			g.running = false
			r.mu.Unlock()
			return
		}
		seen = r.ring.next
		r.mu.Unlock()
		slow, all := g.visit(seen)
		for _, s := range slow {
			r.tellSlow(s)
		}
		if !all {
			seen = 0
		}
	}
}

// visit feeds every member. It does not reach all when some have changed places meanwhile.
func (g *group) visit(next uint64) (slow []slowMember, all bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.pass = passing{}
	g.moved = false
	low := next
	for i := 0; i < len(g.members); i++ {
		m := g.members[i]
		if m.next < next {
			slow = g.serve(m, slow)
		}
		low = min(low, m.next)
		if i%restEvery == restEvery-1 {
			g.pass = passing{}
			g.mu.Unlock()
			runtime.Gosched()
			g.mu.Lock()
		}
	}
	g.pass = passing{}
	switch {
	case len(g.members) == 0:
		g.low.Store(nobody)
	case !g.moved:
		g.low.Store(low)
	}
	return slow, !g.moved
}

// serve feeds m what it takes, or applies the policy to it.
func (g *group) serve(m *seat, slow []slowMember) []slowMember {
	p := &g.pass
	if p.tape != m.tape {
		g.room.open(p, m.tape)
	}
	if m.lost {
		m.next = p.next
		return slow
	}
	if from := g.room.behind(m, p); from > m.next {
		if m.lost = g.room.opts.Policy == Disconnect; m.lost {
			from = p.next
		}
		slow = append(slow, slowMember{m.client, from - m.next})
		m.next = from
	}
	if m.waiting || m.next >= p.next {
		return slow
	}
	before := m.next
	if m.feeder != nil && m.tape.framing != nil {
		m.feed(p)
	} else {
		m.send(p)
	}
	if !m.lost {
		g.room.stats.delivered.Add(m.next - before)
	}
	return slow
}

// open begins to deliver from a tape.
func (r *Room) open(p *passing, t *tape) {
	r.mu.Lock()
	defer r.mu.Unlock()
	*p = passing{first: r.ring.first, next: r.ring.next, messages: r.ring.from(r.ring.first), tape: t, cut: t.cut}
}

// behind is the message that m goes on with: m.next, unless it is too slow.
func (r *Room) behind(m *seat, p *passing) (from uint64) {
	from = max(m.next, p.first)
	if most := r.opts.MaxLatency; m.waiting && most > 0 && r.opts.Policy != Backpressure {
		for from < p.next && time.Since(p.messages[from-p.first].at) > most {
			from++
		}
	}
	if from > m.next && r.opts.Policy == SkipToLatest {
		return max(from, p.next-1)
	}
	return from
}

// feed writes what is framed already.
func (m *seat) feed(p *passing) {
	p.base = p.cut.begin(m.next)
	n, err := m.feeder.Feed(p.cut.buf[p.base:], m)
	switch {
	case err != nil:
		m.next, m.lost = p.next, true
	case p.base+n == len(p.cut.buf):
		m.next = p.next
	default:
		m.next = p.cut.after(p.base + n)
		m.wait()
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
		err := m.client.stream.TrySend(msg.data, msg.kind)
		if err == handlers.ErrSlow {
			m.wait()
			time.AfterFunc(retrySlow, m.Drained)
			return
		}
		m.next++
	}
}

// retrySlow is when a stream is tried again that cannot tell when it has room.
const retrySlow = 50 * time.Millisecond

// wait is for a member that takes no more for now.
func (m *seat) wait() {
	m.waiting = true
	r := m.room
	if r.opts.MaxLatency <= 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.timed {
		r.timed = true
		time.AfterFunc(r.opts.MaxLatency+time.Millisecond, r.visitLate)
	}
}

// visitLate looks for members that are too slow by now.
func (r *Room) visitLate() {
	r.mu.Lock()
	groups, next := r.groups, r.ring.next
	r.timed = false
	r.mu.Unlock()
	for _, g := range groups {
		slow, _ := g.visit(next)
		for _, s := range slow {
			r.tellSlow(s)
		}
	}
}

// Drained is [loop.Feeder.Drained]: m takes more.
func (m *seat) Drained() {
	g := m.group
	g.mu.Lock()
	m.waiting = false
	var slow []slowMember
	before := m.next
	if !m.left {
		g.pass = passing{}
		slow = g.serve(m, nil)
		g.pass = passing{}
	}
	g.mu.Unlock()
	for _, s := range slow {
		m.room.tellSlow(s)
	}
	if before <= g.low.Load() {
		m.room.wake(g) // what it has got need not be kept
	}
}

// slowMember is a client to which the policy was applied.
type slowMember struct {
	client *Client
	missed uint64
}

func (r *Room) tellSlow(s slowMember) {
	r.stats.slow.Add(1)
	r.stats.missed.Add(s.missed)
	if r.opts.Policy == Disconnect {
		s.client.kill(handlers.ErrSlow)
	}
	if r.opts.OnSlow != nil {
		_ = s.client.guard(func() { r.opts.OnSlow(r, s.client, s.missed) })
	}
}

// lowLocked is the first message that a member has not got.
func (r *Room) lowLocked() uint64 {
	low := r.ring.next
	for _, g := range r.groups {
		low = min(low, g.low.Load())
	}
	return low
}

// trimLocked gives up what every member has got and is not history.
func (r *Room) trimLocked() {
	if r.ring.first == r.ring.next {
		return
	}
	keep := r.ring.next - min(r.ring.next-r.ring.first, r.opts.history())
	before := r.ring.first
	r.ring.drop(min(r.lowLocked(), keep))
	if r.ring.first > before && r.opts.Policy == Backpressure {
		r.free.Broadcast()
	}
}
