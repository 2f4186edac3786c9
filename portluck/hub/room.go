package hub

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/portluck/portluck/handlers"
)

// A Room passes what is published in it on to its members: clients of any protocol. Its methods may
// be called by any goroutine. Publishing does not wait for members, unless the policy is
// Backpressure; each member gets every message once and in order, or its policy is applied.
//
// The messages that somebody has not got yet are in a ring, once for each way to frame them, in
// which every member has a position: a member costs some 80 bytes, however many messages there are.
type Room struct {
	hub  *Hub
	name string
	opts RoomOptions

	members atomic.Int64
	stats   struct{ delivered, missed, slow atomic.Uint64 }

	mu     sync.Mutex
	dead   bool // the hub does not know it
	ring   ring
	free   sync.Cond // of Publish with Backpressure: somebody has got more
	groups []*group
	late   *time.Timer   // of visitLate; nil before it is first needed
	lateAt time.Time     // when it will be called; zero if it will not
	news   chan struct{} // closed by the next Publish; nil if nobody waits
	polls  int           // that wait for it
}

// Name is the room's name.
func (r *Room) Name() string { return r.name }

// Len is how many members there are.
func (r *Room) Len() int { return int(r.lock().unlocked().members.Load()) }

// Members returns the members.
func (r *Room) Members() []*Client {
	r = r.lock()
	groups := r.groups
	r.mu.Unlock()
	var all []*Client
	for _, g := range groups {
		g.mu.Lock()
		for _, m := range g.members {
			all = append(all, m.client)
		}
		g.mu.Unlock()
	}
	return all
}

// Stats returns the counters.
func (r *Room) Stats() RoomStats {
	r = r.lock()
	defer r.mu.Unlock()
	return RoomStats{
		Published: r.ring.next - 1, Delivered: r.stats.delivered.Load(),
		Missed: r.stats.missed.Load(), Slow: r.stats.slow.Load(),
	}
}

// Position is that of the last message published.
func (r *Room) Position() handlers.Position {
	r = r.lock()
	defer r.mu.Unlock()
	return r.positionLocked()
}

func (r *Room) positionLocked() handlers.Position {
	return handlers.Position{Epoch: r.ring.epoch, Seq: r.ring.next - 1}
}

// Since returns the messages after p that are kept, and the position of the last one. It is
// complete when no message since p is missing. The messages must not be changed.
func (r *Room) Since(p handlers.Position) (all []handlers.Message, at handlers.Position, complete bool) {
	r = r.lock()
	defer r.mu.Unlock()
	from, complete := r.resumeLocked(p)
	for _, m := range r.ring.from(from) {
		all = append(all, handlers.Message{Data: m.data, Kind: m.kind})
	}
	return all, r.positionLocked(), complete
}

// Watch is for a port whose client polls r: it returns a channel that the next Publish closes. The
// caller calls done when it waits no more. Watch returns nil if r has messages after p already.
func Watch(r *Room, p handlers.Position) (news <-chan struct{}, done func()) {
	r = r.lockLive()
	unseen := r.ring.next == 1 && p.Seq == 0 && p.Epoch != 0 // of the same room, before it was forgotten
	if p != r.positionLocked() && !unseen {
		r.mu.Unlock()
		r.forget()
		return nil, nil
	}
	if r.news == nil {
		r.news = make(chan struct{})
	}
	r.polls++
	news = r.news
	r.mu.Unlock()
	return news, func() {
		r.mu.Lock()
		r.polls--
		r.mu.Unlock()
		r.forget()
	}
}

// resumeLocked is the first message after p that is kept, and whether none is missing between.
func (r *Room) resumeLocked(p handlers.Position) (from uint64, complete bool) {
	if p.Epoch != r.ring.epoch || p.Seq >= r.ring.next || p.Seq+1 < r.ring.first {
		return max(r.ring.first, r.ring.next-min(r.ring.next, r.opts.history())), false
	}
	return p.Seq + 1, true
}

// Join makes c a member, from the next message on, or from the last ones if the room has history.
// It does nothing if c is one. The error is [handlers.ErrClosed] if c is gone.
func (r *Room) Join(c *Client) error {
	_, err := r.join(c, nil)
	return err
}

// JoinSince is Join after a break: c first gets the messages since p. When not all of them are kept
// it gets the history and complete is false.
func (r *Room) JoinSince(c *Client, p handlers.Position) (complete bool, err error) {
	return r.join(c, &p)
}

func (r *Room) join(c *Client, since *handlers.Position) (complete bool, err error) {
	m := &seat{client: c}
	var framing handlers.Framing
	if f, ok := c.stream.(feeder); ok {
		if err := c.guard(func() { framing = f.Framing() }); err != nil {
			return false, err
		}
	}
	for {
		r = r.lockLive()
		g := r.groupLocked()
		r.mu.Unlock()
		switch complete, err = g.add(m, framing, since); err {
		case errForgotten:
		case errMember:
			return true, nil
		default:
			return complete, err
		}
	}
}

// Leave ends the membership of c. What is on its way to c already still comes.
func (r *Room) Leave(c *Client) {
	r = r.lock().unlocked()
	if m := c.exit(r); m != nil {
		m.leave()
	}
}

// Publish sends m to every member. With Backpressure it waits for them; it must then not be called
// in a callback of a member. m.Data is copied. What [Hub.Carry] says of a slow backplane holds too.
func (r *Room) Publish(m handlers.Message) handlers.Position {
	p, _ := r.publish(m, publishing{wait: true, carry: true})
	return p
}

// TryPublish is Publish that waits for no member and for no other publisher: it returns
// [handlers.ErrSlow], and nothing is published, when with Backpressure a member is too far behind,
// or when the backplane is.
func (r *Room) TryPublish(m handlers.Message) (handlers.Position, error) {
	return r.publish(m, publishing{carry: true})
}

// publishing says how to publish.
type publishing struct {
	wait  bool // for members and the backplane, when they are behind
	carry bool // to the other hubs too
}

func (r *Room) publish(m handlers.Message, how publishing) (handlers.Position, error) {
	r = r.lockToPublish()
	how.carry = how.carry && !r.opts.Local && r.hub.backplane.Load() != nil
	if how.carry && !how.wait && r.hub.outbox.isFull() {
		r.mu.Unlock()
		return handlers.Position{}, handlers.ErrSlow
	}
	for r.opts.Policy == Backpressure && !r.ring.makeRoom(&r.opts, r.lowLocked()) {
		if !how.wait {
			r.mu.Unlock()
			return handlers.Position{}, handlers.ErrSlow
		}
		if r.free.Wait(); r.dead {
			r = r.unlocked().lockToPublish()
		}
	}
	m.Data = r.ring.append(m)
	if how.carry {
		r.hub.outbox.put(letter{r.name, m}) // under the lock: in the order of the room
	}
	var few [8]*group // spares an allocation on most machines
	at, idle := r.publishedLocked(few[:0])
	failed := r.ring.failed
	r.ring.failed = nil
	r.mu.Unlock()
	if failed != nil {
		r.hub.panicked(failed)
	}
	r.start(idle)
	if how.carry {
		r.hub.post(how.wait)
	}
	return at, nil
}

// publishedLocked is after a message was added. It appends the groups that nobody delivers to, and
// that the caller starts.
func (r *Room) publishedLocked(idle []*group) (handlers.Position, []*group) {
	if r.opts.Policy != Backpressure {
		r.ring.bound(&r.opts)
	}
	if r.news != nil {
		close(r.news)
		r.news = nil
	}
	at := r.positionLocked()
	for _, g := range r.groups {
		if !g.running {
			g.running = true
			idle = append(idle, g)
		}
	}
	if len(r.groups) == 0 {
		r.trimLocked()
	}
	return at, idle
}

// start delivers to groups.
func (r *Room) start(idle []*group) {
	inline := r.members.Load() <= inlineMembers
	for _, g := range idle {
		if inline {
			g.deliver()
		} else {
			go g.deliver() // ends when every member has got what it takes
		}
	}
}

// inlineMembers is up to how many members get their messages in the publishing goroutine.
const inlineMembers = 16

// What a group says of a new member.
var (
	errMember    = errors.New("a member already")
	errForgotten = errors.New("the hub has forgotten the room")
)
