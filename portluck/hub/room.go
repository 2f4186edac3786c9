package hub

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/portluck/portluck/handlers"
)

// A Room sends each message that is published in it to all its members, which are clients of any
// protocol. Each member gets every message once and in order, unless it reads too slowly: the
// [Policy] says what happens then. Publishing does not wait for members unless the policy is
// [Backpressure]. Any goroutine may call the methods of a Room.
//
// A room keeps a message until all members have got it, within the bounds of its [RoomOptions]:
// once for each framing, not once for each member. A member costs about 80 bytes.
type Room struct {
	hub  *Hub
	name string
	opts RoomOptions

	members atomic.Int64
	stats   struct{ delivered, missed, slow atomic.Uint64 }

	mu     sync.Mutex
	dead   bool // the hub does not know the room: another Room may stand for the same name
	ring   ring
	free   sync.Cond // signals to Publish with Backpressure that members have got more
	groups []*group
	here   *presence     // nil unless it is recorded
	aging  bool          // age will be called
	joins  uint64        // how many members have come
	late   *time.Timer   // calls checkLate; nil before it is first needed
	lateAt time.Time     // when late fires; zero if it does not
	news   chan struct{} // closed by the next Publish; nil if nobody waits
	polls  int           // number of callers of Watch that are waiting
}

// Name returns the room's name.
func (r *Room) Name() string { return r.name }

// Len returns the number of members.
func (r *Room) Len() int { return int(r.lock().unlocked().members.Load()) }

// Members returns the members, in no particular order.
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

// Position returns the position of the last message published.
func (r *Room) Position() handlers.Position {
	r = r.lock()
	defer r.mu.Unlock()
	return r.positionLocked()
}

func (r *Room) positionLocked() handlers.Position {
	return handlers.Position{Epoch: r.ring.epoch, Seq: r.ring.next - 1}
}

// Since returns the messages after p that the room keeps, and the position of the last one.
// complete reports whether these are all messages since p. The caller must not change their Data.
// Messages that were published with To are not among them: they are not for everybody.
func (r *Room) Since(p handlers.Position) (all []handlers.Message, at handlers.Position, complete bool) {
	return r.since(p, nil)
}

// Watch serves a port whose client polls r: it returns a channel that the next Publish closes. The
// caller calls done when it stops waiting. If r has messages after p already, both are nil.
func Watch(r *Room, p handlers.Position) (news <-chan struct{}, done func()) {
	r = r.lockLive()
	unseen := r.ring.next == 1 && p.Seq == 0 && p.Epoch != 0 // polled before, and forgotten
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

// resumeLocked returns the number of the first message to send after p. complete reports whether no
// message between is missing.
func (r *Room) resumeLocked(p handlers.Position) (from uint64, complete bool) {
	if p.Epoch != r.ring.epoch || p.Seq >= r.ring.next || p.Seq+1 < r.ring.young(r.opts.HistoryAge) {
		return r.historyLocked(), false
	}
	return p.Seq + 1, true
}

// historyLocked returns the number of the first message of the history.
func (r *Room) historyLocked() uint64 {
	return max(r.ring.tail(r.opts.history()), r.ring.young(r.opts.HistoryAge))
}

// ageLocked has age called when the next message of the history is too old.
func (r *Room) ageLocked() {
	young := r.ring.from(r.ring.young(r.opts.HistoryAge)) // a slow member may still need older ones
	if r.opts.ages() && !r.aging && len(young) > 0 {
		r.aging = true
		time.AfterFunc(time.Until(young[0].at.Add(r.opts.HistoryAge)), r.age)
	}
}

// age drops what is too old.
func (r *Room) age() {
	r.mu.Lock()
	r.aging = false
	r.trimLocked()
	r.ageLocked()
	r.mu.Unlock()
	r.forget()
}

// Join makes c a member: c gets the room's history, if the room has one, and every message from now
// on. Join does nothing if c is a member already. It returns [handlers.ErrClosed] if c has gone.
func (r *Room) Join(c *Client) error {
	_, err := r.join(c, nil)
	return err
}

// JoinSince is Join for a client that comes back: c first gets the messages since p. If the room
// has not kept all of them, c gets the history instead, and complete is false.
func (r *Room) JoinSince(c *Client, p handlers.Position) (complete bool, err error) {
	return r.join(c, &p)
}

func (r *Room) join(c *Client, since *handlers.Position) (complete bool, err error) {
	m := &membership{client: c}
	how := joining{since: since}
	if f, ok := c.stream.(feeder); ok {
		if err := c.guard(func() { how.framing = f.Framing() }); err != nil {
			return false, err
		}
	}
	for {
		r = r.lockLive()
		g := r.groupLocked()
		aimed := r.ring.aimed
		how.asked = r.ring.next
		r.mu.Unlock()
		how.ask(c, aimed)
		switch complete, err = g.add(m, &how); err {
		case errAgain:
		case errMember:
			return true, nil
		default:
			return complete, err
		}
	}
}

// Leave ends the membership of c. Messages that c's stream has taken are still sent.
func (r *Room) Leave(c *Client) {
	r = r.lock().unlocked()
	if m := c.exit(r); m != nil {
		m.leave()
	}
}

// publishedLocked is called after a message was added to the ring. It returns the message's
// position, and idle with the groups appended that the caller must start.
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
	if r.opts.ages() && !r.aging {
		r.ageLocked()
	}
	return at, idle
}

// start delivers to the groups: in this goroutine if the room is small, else in one for each.
func (r *Room) start(idle []*group) {
	inline := r.members.Load() <= inlineMembers
	for _, g := range idle {
		if inline {
			g.deliver()
		} else {
			r.hub.tasks.Go(g.deliver) // ends when every member has got what its stream takes
		}
	}
}

// inlineMembers is the largest number of members that the publishing goroutine serves itself.
const inlineMembers = 16

// Errors of adding a member to a group.
var (
	errMember = errors.New("a member already")
	errAgain  = errors.New("the room has changed meanwhile")
)
