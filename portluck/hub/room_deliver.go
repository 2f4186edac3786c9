package hub

import (
	"runtime"
	"time"

	"github.com/portluck/portluck/handlers"
)

// wake has g deliver what there is, and find out what need not be kept.
func (r *Room) wake(g *group) {
	r.mu.Lock()
	run := !g.running
	g.running, g.again = true, true
	r.mu.Unlock()
	if run {
		g.deliver()
	}
}

// restEvery is after how many members a delivery lets others have the processor.
const restEvery = 64

// deliver gives the members of g what they have not got: once in this goroutine, and in another one
// what comes meanwhile, as whoever publishes also has other things to do.
func (g *group) deliver() {
	if g.round() {
		go func() { // ends when there is nothing more, or no member takes more
			for g.round() {
			}
		}()
	}
}

// round delivers once. It reports whether it has to be done again.
func (g *group) round() (more bool) {
	r := g.room
	r.mu.Lock()
	next := r.ring.next
	g.again = false
	r.mu.Unlock()
	for _, s := range g.visit(next) {
		r.tellSlow(s)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.trimLocked()
	g.running = g.again || r.ring.next != next
	return g.running
}

// visit feeds every member what there is before next.
func (g *group) visit(next uint64) (slow []slowMember) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.pass = passing{}
	for g.seen, g.lowest = 0, next; g.seen < len(g.members); {
		m := g.members[g.seen]
		g.seen++
		if m.next < next {
			slow = g.serve(m, slow)
		}
		g.lowest = min(g.lowest, m.next)
		if g.seen%restEvery == 0 {
			g.pass = passing{}
			g.mu.Unlock()
			runtime.Gosched()
			g.mu.Lock()
		}
	}
	if g.low.Store(g.lowest); len(g.members) == 0 {
		g.low.Store(nobody)
	}
	g.seen, g.lowest = 0, 0
	g.restLocked()
	return slow
}

// restLocked is after one or more members were served.
func (g *group) restLocked() {
	g.pass = passing{}
	if !g.due.IsZero() {
		g.room.lookBy(g.due)
		g.due = time.Time{}
	}
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
		slow = append(slow, slowMember{client: m.client, missed: from - m.next})
		m.next = from
	}
	if before := m.next; !m.waiting && before < p.next {
		if err := handlers.Guard(func() { m.take(p) }); err != nil {
			m.next, m.lost = p.next, true
			slow = append(slow, slowMember{client: m.client, err: err})
		}
		if !m.lost {
			g.room.stats.delivered.Add(m.next - before)
		}
	}
	if most := g.room.opts.maxLatency(); most > 0 && m.waiting && m.next < p.next {
		if due := p.messages[m.next-p.first].at.Add(most); g.due.IsZero() || due.Before(g.due) {
			g.due = due
		}
	}
	return slow
}

// open begins to deliver from a tape.
func (r *Room) open(p *passing, t *tape) {
	r.mu.Lock()
	defer r.mu.Unlock()
	*p = r.passLocked(t)
}

func (r *Room) passLocked(t *tape) passing {
	return passing{first: r.ring.first, next: r.ring.next, messages: r.ring.from(r.ring.first), tape: t, cut: t.cut}
}

// behind is the message that m goes on with: m.next, unless it is too slow.
func (r *Room) behind(m *seat, p *passing) (from uint64) {
	from = max(m.next, p.first)
	if most := r.opts.maxLatency(); m.waiting && most > 0 {
		for from < p.next && time.Since(p.messages[from-p.first].at) > most {
			from++
		}
	}
	if from > m.next && r.opts.Policy == SkipToLatest {
		return max(from, p.next-1)
	}
	return from
}

// lookBy has visitLate called at t, if it is not to be before.
func (r *Room) lookBy(t time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	after := time.Until(t) + time.Millisecond
	switch {
	case r.late == nil:
		r.late = time.AfterFunc(after, r.visitLate)
	case r.lateAt.IsZero() || t.Before(r.lateAt):
		r.late.Reset(after)
	default:
		return
	}
	r.lateAt = t
}

// visitLate looks for members that are too slow by now.
func (r *Room) visitLate() {
	r.mu.Lock()
	groups := r.groups
	r.lateAt = time.Time{}
	r.mu.Unlock()
	for _, g := range groups {
		r.wake(g)
	}
}

// slowMember is a client to which the policy was applied.
type slowMember struct {
	client *Client
	missed uint64
	err    error // its stream has panicked, and that is all
}

func (r *Room) tellSlow(s slowMember) {
	if s.err != nil {
		s.client.binding().panicked(s.client.Info(), s.err)
		s.client.kill(handlers.ErrPanic)
		return
	}
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
	if r.opts.Policy == Backpressure {
		r.free.Broadcast()
	}
	if r.ring.first == r.ring.next {
		return
	}
	keep := r.ring.next - min(r.ring.next-r.ring.first, r.opts.history())
	r.ring.drop(min(r.lowLocked(), keep))
}
