package hub

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/portluck/portluck/handlers"
)

// A Member is a client in a room.
type Member struct {
	ID    uint64    // of the client
	User  string    // of its login; empty for none
	Since time.Time // when it joined; zero unless [RoomOptions] has Presence
}

// presence records who is in a room. The room's mu guards it.
type presence struct {
	visits   map[*membership]visit // a client that leaves and joins at once may have two
	visitors map[visitorKey]*visitor
	changed  []*visitor // perhaps; each once
	watchers []*watcher
	telling  bool // a goroutine tells what has changed
}

// visit is one membership.
type visit struct {
	since time.Time
	who   *visitor
}

// visitor is a user with all clients, or a client without a user.
type visitor struct {
	member  Member // the first client
	clients int    // that are there
	leaves  int    // how often the last of them has left
	grace   *time.Timer
	away    bool // the grace is over
	changed bool // it is in presence.changed
	told    bool // that it has joined
}

// visitorKey tells visitors apart.
type visitorKey struct {
	user string
	id   uint64 // 0 if there is a user
}

func keyOf(m Member) visitorKey {
	if m.User != "" {
		return visitorKey{user: m.User}
	}
	return visitorKey{id: m.ID}
}

// watcher is told of visitors.
type watcher struct {
	f     func(joined, left []Member)
	fresh bool // it has not been called yet
}

// Presence returns the members of the room on this server, by ID.
func (r *Room) Presence(ctx context.Context) ([]Member, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	all := r.lock().visitsUnlocked()
	if all == nil {
		for _, c := range r.Members() {
			all = append(all, Member{ID: c.id, User: c.User()})
		}
	}
	slices.SortFunc(all, byID)
	return slices.CompactFunc(all, func(a, b Member) bool { return a.ID == b.ID }), nil
}

// visitsUnlocked unlocks r and returns its members; nil if it does not record them.
func (r *Room) visitsUnlocked() (all []Member) {
	defer r.mu.Unlock()
	if r.here == nil {
		return nil
	}
	all = []Member{}
	for m, v := range r.here.visits {
		all = append(all, Member{ID: m.client.id, User: v.who.member.User, Since: v.since})
	}
	return all
}

func byID(a, b Member) int { return cmp.Compare(a.ID, b.ID) }

// WatchPresence serves a port whose client asks for presence. It calls f with all that are in r,
// and then when somebody comes or goes, as OnPresence of [RoomOptions] is called. The caller calls
// stop when the client leaves r; one call may still run then. f is never called if r does not
// record presence.
func WatchPresence(r *Room, f func(joined, left []Member)) (stop func()) {
	r = r.lockLive()
	if !r.opts.presence() {
		r.mu.Unlock()
		r.forget()
		return func() {}
	}
	w := &watcher{f: f, fresh: true}
	p := r.presenceLocked()
	p.watchers = append(slices.Clip(p.watchers), w)
	r.tellLocked()
	r.mu.Unlock()
	return func() {
		r.mu.Lock()
		p.watchers = slices.DeleteFunc(slices.Clone(p.watchers), func(o *watcher) bool { return o == w })
		r.mu.Unlock()
		r.forget()
	}
}

func (r *Room) presenceLocked() *presence {
	if r.here == nil {
		r.here = &presence{visits: map[*membership]visit{}, visitors: map[visitorKey]*visitor{}}
	}
	return r.here
}

// arrivedLocked records that m has joined.
func (r *Room) arrivedLocked(m *membership) {
	if !r.opts.presence() {
		return
	}
	p := r.presenceLocked()
	who := Member{ID: m.client.id, User: m.client.User(), Since: time.Now()}
	v := p.visitors[keyOf(who)]
	if v == nil {
		v = &visitor{member: who}
		p.visitors[keyOf(who)] = v
	}
	p.visits[m] = visit{since: who.Since, who: v}
	v.away = false
	v.clients++
	if v.grace != nil {
		v.grace.Stop()
	}
	r.changedLocked(v)
}

// partedLocked records that m has left.
func (r *Room) partedLocked(m *membership) {
	if r.here == nil {
		return
	}
	v := r.here.visits[m].who
	delete(r.here.visits, m)
	if v.clients--; v.clients > 0 {
		return
	}
	grace := r.opts.presenceGrace()
	if grace == 0 {
		v.away = true
		r.changedLocked(v)
		return
	}
	v.leaves++
	leave := v.leaves
	v.grace = time.AfterFunc(grace, func() { r.missed(v, leave) })
}

// missed is called when v has stayed away since this leave for the grace, unless it has come back.
func (r *Room) missed(v *visitor, leave int) {
	r.hub.tasks.Add() // so that the end of the last server waits
	defer r.hub.tasks.Done()
	r.mu.Lock()
	defer r.mu.Unlock()
	if v.clients == 0 && v.leaves == leave {
		v.away = true
		r.changedLocked(v)
	}
}

// changedLocked has those who ask told about v.
func (r *Room) changedLocked(v *visitor) {
	if !v.changed {
		v.changed = true
		r.here.changed = append(r.here.changed, v)
	}
	r.tellLocked()
}

// tellLocked starts a goroutine that tells what has changed, unless there is one.
func (r *Room) tellLocked() {
	if !r.here.telling && r.hub.bound.Load() > 0 {
		r.here.telling = true
		r.hub.tasks.Go(r.tell) // ends when everything is told, or the hub has no server
	}
}

// tell calls OnPresence and the watchers until nothing has changed.
func (r *Room) tell() {
	ended := true // a callback has ended the goroutine
	defer func() {
		if ended {
			r.hub.tasks.Go(r.tell)
		}
	}()
	for r.tellOnce() {
	}
	ended = false
	r.forget()
}

// tellOnce tells what has changed. It returns false if that is nothing.
func (r *Room) tellOnce() bool {
	r.mu.Lock()
	p := r.here
	if r.hub.bound.Load() <= 0 {
		p.telling = false
		r.mu.Unlock()
		return false
	}
	joined, left := p.takeLocked()
	calls := p.callsLocked(joined, left)
	changed := len(joined)+len(left) > 0
	p.telling = changed || len(calls) > 0
	r.mu.Unlock()
	for _, call := range calls {
		call()
	}
	if f := r.opts.OnPresence; f != nil && changed {
		r.hub.panicked(handlers.GuardExit(func() { f(r, joined, left) }, r.hub.panicked))
	}
	return changed || len(calls) > 0
}

// callsLocked returns the calls of watchers that are due.
func (p *presence) callsLocked(joined, left []Member) (calls []func()) {
	for _, w := range p.watchers {
		switch {
		case w.fresh:
			w.fresh = false
			present := p.toldLocked()
			calls = append(calls, func() { w.f(present, nil) })
		case len(joined)+len(left) > 0:
			calls = append(calls, func() { w.f(joined, left) })
		}
	}
	return calls
}

// takeLocked returns who has come and gone since the last call.
func (p *presence) takeLocked() (joined, left []Member) {
	for _, v := range p.changed {
		v.changed = false
		gone := v.clients == 0 && v.away
		switch {
		case !gone && !v.told:
			v.told = true
			joined = append(joined, v.member)
		case gone && v.told:
			v.told = false
			left = append(left, v.member)
		}
		if gone && p.visitors[keyOf(v.member)] == v {
			delete(p.visitors, keyOf(v.member))
		}
	}
	p.changed = nil
	return joined, left
}

// idle reports whether nobody is there or told, and nobody will be.
func (p *presence) idle() bool {
	return p == nil || len(p.visitors) == 0 && len(p.watchers) == 0 && !p.telling
}

// toldLocked returns all that have been told to have joined and not to have left, by ID.
func (p *presence) toldLocked() []Member {
	all := []Member{}
	for _, v := range p.visitors {
		if v.told {
			all = append(all, v.member)
		}
	}
	slices.SortFunc(all, byID)
	return all
}
