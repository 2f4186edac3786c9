package hub

import (
	"strings"
	"sync"
	"sync/atomic"

	"github.com/portluck/portluck/handlers"
)

// detail is what a message has that is not for all members.
type detail struct {
	seq    uint64
	except uint64 // id of the client that does not get it; 0 if none
	user   string // of that client
	last   uint64 // id of the last client when it was published
	key    string // of ByKey

	replaced atomic.Bool          // there is a newer message of this key
	to       func(c *Client) bool // nil if it goes to all others

	mu     sync.Mutex
	chosen map[uint64]bool // ids of the members for whom to is true
}

// detailOf returns the detail of a message with these options; nil if it has none.
func (h *Hub) detailOf(o *PublishOptions) *detail {
	d := detail{to: o.To}
	if o.Except != nil && o.Except.hub() == h {
		d.except, d.user, d.last = o.Except.id, o.Except.User(), h.lastID.Load()
	}
	if d.except == 0 && d.to == nil {
		return nil
	}
	return &d
}

// isFor reports whether the message is for c; nil is anybody.
func (d *detail) isFor(c *Client) bool {
	switch {
	case d == nil:
		return true
	case d.replaced.Load():
		return false
	case d.excepts(c):
		return false
	case d.to == nil:
		return true
	case c == nil:
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.chosen[c.id]
}

// excepts reports whether the message is not for c: it is the client that is left out, or came
// later and is of the same user.
func (d *detail) excepts(c *Client) bool {
	if c == nil || d.except == 0 {
		return false
	}
	return c.id == d.except || d.user != "" && c.id > d.last && c.User() == d.user
}

// maybeFor reports whether the message is for c if To says so.
func (d *detail) maybeFor(c *Client) bool {
	return d != nil && d.to != nil && c != nil && !d.excepts(c) && !d.isReplaced()
}

// wants asks To about c.
func (d *detail) wants(c *Client) (ok bool) {
	_ = c.guard(func() { ok = d.to(c) })
	return ok
}

func (d *detail) choose(c *Client) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.chosen[c.id] = true
}

// ask asks To about the members of r that have not been asked.
func (p *publishing) ask(r *Room) {
	r = r.lock()
	p.joins = r.joins
	r.mu.Unlock()
	if p.asked == nil {
		p.asked = map[*Client]bool{}
		p.detail.chosen = map[uint64]bool{}
	}
	for _, c := range r.Members() {
		if p.asked[c] {
			continue
		}
		p.asked[c] = true
		if p.detail.wants(c) {
			p.detail.choose(c)
		}
	}
}

// joining says how a client joins.
type joining struct {
	framing handlers.Framing
	since   *handlers.Position
	asked   uint64    // number of the first message whose To was not asked about the client
	chosen  []*detail // of the messages that it gets for that
}

// ask asks To of the messages whose details are aimed.
func (j *joining) ask(c *Client, aimed []*detail) {
	j.chosen = nil
	for _, d := range aimed {
		if d.wants(c) {
			j.chosen = append(j.chosen, d)
		}
	}
}

// choose makes c get what it was chosen for.
func (j *joining) choose(c *Client) {
	for _, d := range j.chosen {
		d.choose(c)
	}
}

// since is Since for c, or for anybody if c is nil.
func (r *Room) since(p handlers.Position, c *Client) (all []handlers.Message, at handlers.Position, complete bool) {
	r = r.lock()
	from, complete := r.resumeLocked(p)
	kept := r.ring.from(from)
	at = r.positionLocked()
	r.mu.Unlock()
	for _, m := range kept {
		if d := m.detail; d.isFor(c) || d.maybeFor(c) && d.wants(c) {
			all = append(all, handlers.Message{Data: m.data, Kind: m.kind})
		}
	}
	return all, at, complete
}

// Since is [Room.Since] for the client, which need not be a member: it also returns the messages
// that were published with a To that is true for it, and not those that except it.
func (s *Session) Since(r *Room, p handlers.Position) (all []handlers.Message, at handlers.Position, complete bool) {
	return r.since(p, s.Client())
}

// note is told the detail of the message next; nil if it has none.
func (g *ring) note(d *detail) {
	if d == nil {
		return
	}
	d.seq = g.next
	g.details++
	if d.to != nil {
		g.aimed = append(g.aimed, d)
	}
	if d.key != "" {
		g.replace(d)
	}
}

// forget is told of a message that is dropped.
func (g *ring) forget(m *published) {
	d := m.detail
	if !d.isReplaced() {
		g.bytes -= len(m.data)
	}
	if d == nil {
		return
	}
	g.details--
	if len(g.aimed) > 0 && g.aimed[0] == d {
		g.aimed = g.aimed[1:]
	}
	if len(g.aimed) == 0 {
		g.aimed = nil
	}
	switch {
	case d.isReplaced():
		g.replaced--
	case g.keys[d.key] == d:
		delete(g.keys, d.key)
	}
}

// aimedSince reports whether a message at or after seq has a To.
func (g *ring) aimedSince(seq uint64) bool {
	n := len(g.aimed)
	return n > 0 && g.aimed[n-1].seq >= seq
}

// unaim forgets that c was chosen for messages.
func (g *ring) unaim(c *Client) {
	for _, d := range g.aimed {
		d.mu.Lock()
		delete(d.chosen, c.id)
		d.mu.Unlock()
	}
}

// ids are the last IDs of messages in a room.
type ids struct {
	seqs  map[string]uint64 // numbers of the messages; nil before the first
	order []string
	bytes int
}

// known reports whether id is that of a message.
func (s *ids) known(id string) bool { return s.seqs[id] != 0 }

// add adds the id of message seq. It returns seq, or the number of the message that has the id
// already.
func (s *ids) add(id string, seq uint64, o *RoomOptions) uint64 {
	switch {
	case id == "":
		return seq
	case s.known(id):
		return s.seqs[id]
	case s.seqs == nil:
		s.seqs = map[string]uint64{}
	}
	id = strings.Clone(id)
	s.seqs[id] = seq
	s.order = append(s.order, id)
	s.bytes += len(id)
	for len(s.order) > 1 && (len(s.order) > o.ring() || s.bytes > o.ringBytes()) {
		delete(s.seqs, s.order[0])
		s.bytes -= len(s.order[0])
		s.order[0], s.order = "", s.order[1:]
	}
	return seq
}
