package hub

import (
	"math/rand/v2"
	"sync/atomic"

	"github.com/portluck/portluck/handlers"
)

// Room returns the room of this name. Every client is a member of the room "", which is that of
// [Hub.Broadcast]. The hub knows a room only while it has members or history. Before and after,
// each call returns a new Room, but all of one name stand for the same room.
func (h *Hub) Room(name string) *Room {
	if name == "" {
		h.gathered.Do(h.gather)
		return h.everyone.Load()
	}
	h.roomsMu.Lock()
	r := h.rooms[name]
	h.roomsMu.Unlock()
	if r == nil {
		r = h.newRoom(name)
		r.dead = true
	}
	return r
}

func (h *Hub) newRoom(name string) *Room {
	r := &Room{hub: h, name: name}
	if h.RoomOptions != nil {
		// zero options if it panics
		h.panicked(handlers.Guard(func() { r.opts = h.RoomOptions(name) }))
	}
	r.ring = newRing()
	r.free.L = &r.mu
	return r
}

func newRing() ring { return ring{epoch: rand.Uint64(), first: 1, next: 1} }

// lock locks and returns the room of r's name that the hub knows, or r if the hub knows none.
func (r *Room) lock() *Room { return r.lockAs(false) }

// lockLive is lock, but makes the hub know r if it knows no room of the name. A caller that then
// adds neither a member nor history calls forget.
func (r *Room) lockLive() *Room { return r.lockAs(true) }

// lockToPublish is lockLive if the room keeps history, and lock if not.
func (r *Room) lockToPublish() *Room { return r.lockAs(r.opts.history() > 0) }

func (r *Room) lockAs(live bool) *Room {
	r.mu.Lock()
	if !r.dead {
		return r
	}
	r.mu.Unlock()
	h := r.hub
	h.roomsMu.Lock()
	defer h.roomsMu.Unlock()
	if known := h.rooms[r.name]; known != nil {
		known.mu.Lock()
		return known
	}
	r.mu.Lock()
	if live {
		if h.rooms == nil {
			h.rooms = map[string]*Room{}
		}
		h.rooms[r.name] = r
		r.dead = false
	}
	return r
}

func (r *Room) unlocked() *Room {
	r.mu.Unlock()
	return r
}

// forget removes r from the hub, unless r has members or history or somebody waits for its
// messages.
func (r *Room) forget() {
	h := r.hub
	h.roomsMu.Lock()
	defer h.roomsMu.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	kept := r.opts.history() > 0 && r.ring.next > 1 && (!r.opts.ages() || len(r.ring.messages) > 0)
	if r.members.Load() > 0 || r.polls > 0 || kept || !r.here.idle() || h.rooms[r.name] != r {
		return
	}
	r.dead = true
	delete(h.rooms, r.name)
	r.ring = newRing()
	for _, n := range []*atomic.Uint64{&r.stats.delivered, &r.stats.missed, &r.stats.slow} {
		n.Store(0)
	}
	r.free.Broadcast()
}
