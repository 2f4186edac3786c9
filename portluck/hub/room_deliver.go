package hub

import (
	"runtime"
	"time"

	"github.com/portluck/portluck/handlers"
)

// wake starts a delivery to g, or has the running one visit all members again.
func (r *Room) wake(g *group) {
	r.mu.Lock()
	run := !g.running
	g.running, g.again = true, true
	r.mu.Unlock()
	if run {
		g.deliver()
	}
}

// yieldEvery is the number of members after which a delivery yields the processor.
const yieldEvery = 64

// deliver sends the members of g what they have yet to get. It makes one round itself. The
// publisher that calls it has other work, so further rounds run in a goroutine.
func (g *group) deliver() {
	if g.round() {
		g.room.hub.tasks.Go(func() { // ends when there is nothing more, or no member takes more
			for g.round() {
			}
		})
	}
}

// round visits all members once. It reports whether another round is needed.
func (g *group) round() (more bool) {
	r := g.room
	r.mu.Lock()
	next := r.ring.next
	g.again = false
	r.mu.Unlock()
	slow, ended := g.visit(next), true
	defer func() {
		if more = g.settle(next); more && ended { // by OnSlow, with the goroutine
			r.hub.tasks.Go(g.deliver)
		}
	}()
	r.applyPolicies(slow)
	ended = false
	return false // settle says
}

// settle ends a round that has sent what is below next. It reports whether another is needed.
func (g *group) settle(next uint64) (more bool) {
	r := g.room
	r.mu.Lock()
	defer r.mu.Unlock()
	r.trimLocked()
	g.running = g.again || r.ring.next != next
	return g.running
}

// visit serves every member that has yet to get a message below next. It returns the slow ones.
func (g *group) visit(next uint64) (slow []slowMember) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.batch = batch{}
	for g.seen, g.lowest = 0, next; g.seen < len(g.members); {
		m := g.members[g.seen]
		g.seen++
		if m.next < next {
			slow = g.serve(m, slow)
		}
		g.lowest = min(g.lowest, m.next)
		if g.seen%yieldEvery == 0 {
			g.batch = batch{}
			g.mu.Unlock()
			runtime.Gosched()
			g.mu.Lock()
		}
	}
	if g.low.Store(g.lowest); len(g.members) == 0 {
		g.low.Store(noMembers)
	}
	g.seen, g.lowest = 0, 0
	g.servedLocked()
	return slow
}

// servedLocked is called after serve, once for any number of members.
func (g *group) servedLocked() {
	g.batch = batch{}
	if !g.due.IsZero() {
		g.room.checkLateAt(g.due)
		g.due = time.Time{}
	}
}

// serve sends m as much as it takes. A member that is too slow is appended to slow.
func (g *group) serve(m *membership, slow []slowMember) []slowMember {
	b := &g.batch
	if b.log != m.log {
		g.room.fill(b, m.log)
	}
	if m.lost {
		m.next = b.next
		return slow
	}
	if from := g.room.resumeAt(m, b); from > m.next {
		if m.lost = g.room.opts.Policy == Disconnect; m.lost {
			from = b.next
		}
		slow = appendSlow(slow, slowMember{client: m.client, missed: from - m.next})
		m.next = from
	}
	if !m.waiting && m.next < b.next {
		taken := 0
		if err := handlers.Guard(func() { taken = m.take(b) }); err != nil {
			m.next, m.lost = b.next, true
			slow = appendSlow(slow, slowMember{client: m.client, err: err})
		}
		if !m.lost {
			g.room.stats.delivered.Add(uint64(taken))
		}
	}
	if most := g.room.opts.maxLatency(); most > 0 && m.waiting && m.next < b.next {
		if due := b.messages[b.index(m.next)].at.Add(most); g.due.IsZero() || due.Before(g.due) {
			g.due = due
		}
	}
	return slow
}

// fill sets b to what the room has now, framed as in l.
func (r *Room) fill(b *batch, l *framedLog) {
	r.mu.Lock()
	defer r.mu.Unlock()
	*b = r.batchLocked(l)
}

func (r *Room) batchLocked(l *framedLog) batch {
	return batch{first: r.ring.first, next: r.ring.next, messages: r.ring.messages, log: l, segment: l.segment, mixed: r.ring.details > 0}
}

// resumeAt returns the number of the message that m gets next: m.next, or a later one if m is too
// slow.
func (r *Room) resumeAt(m *membership, b *batch) (from uint64) {
	from = max(m.next, b.first)
	if most := r.opts.maxLatency(); m.waiting && most > 0 {
		for from < b.next && time.Since(b.messages[b.index(from)].at) > most {
			from++
		}
	}
	if from > m.next && r.opts.Policy == SkipToLatest {
		return max(from, b.next-1)
	}
	return from
}

// checkLateAt has checkLate called at t, unless it will be called earlier.
func (r *Room) checkLateAt(t time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	after := time.Until(t) + time.Millisecond
	switch {
	case r.late == nil:
		r.late = time.AfterFunc(after, r.checkLate)
	case r.lateAt.IsZero() || t.Before(r.lateAt):
		r.late.Reset(after)
	default:
		return
	}
	r.lateAt = t
}

// checkLate looks for members that have exceeded MaxLatency.
func (r *Room) checkLate() {
	r.mu.Lock()
	groups := r.groups
	r.lateAt = time.Time{}
	r.mu.Unlock()
	for _, g := range groups {
		r.wake(g)
	}
}

// slowMember is a member that missed messages, or whose stream panicked.
type slowMember struct {
	client *Client
	missed uint64
	err    error // the panic; missed is 0 then
}

// appendSlow appends s, whose client's binding waits for applyPolicy from then on, unless the
// client has left all rooms: nothing is called for it after its OnDisconnect.
func appendSlow(slow []slowMember, s slowMember) []slowMember {
	h := s.client.hub()
	h.mu.Lock()
	defer h.mu.Unlock()
	if s.client.left {
		return slow
	}
	s.client.binding().tasks.Add()
	return append(slow, s)
}

// applyPolicies applies the policy to each of slow, also if an OnSlow ends the goroutine.
func (r *Room) applyPolicies(slow []slowMember) {
	defer func() {
		if len(slow) > 0 {
			r.hub.tasks.Go(func() { r.applyPolicies(slow) })
		}
	}()
	for len(slow) > 0 {
		s := slow[0]
		slow = slow[1:]
		r.applyPolicy(s)
	}
}

// applyPolicy applies the policy to s and calls OnSlow. It ends a client whose stream panicked.
func (r *Room) applyPolicy(s slowMember) {
	defer s.client.binding().tasks.Done()
	if s.err != nil {
		s.client.binding().panicked(s.client.Info(), s.err)
		s.client.Kick(handlers.ErrPanic)
		return
	}
	r.stats.slow.Add(1)
	r.stats.missed.Add(s.missed)
	if r.opts.Policy == Disconnect {
		s.client.Kick(handlers.ErrSlow)
	}
	if r.opts.OnSlow != nil {
		_ = s.client.guard(func() { r.opts.OnSlow(r, s.client, s.missed) })
	}
}

// lowLocked returns the number of the first message that some member has yet to get.
func (r *Room) lowLocked() uint64 {
	low := r.ring.next
	for _, g := range r.groups {
		low = min(low, g.low.Load())
	}
	return low
}

// trimLocked drops the messages that every member has got and that are not history.
func (r *Room) trimLocked() {
	if r.opts.Policy == Backpressure {
		r.free.Broadcast()
	}
	if r.ring.first == r.ring.next {
		return
	}
	r.ring.drop(min(r.lowLocked(), r.historyLocked()))
}
