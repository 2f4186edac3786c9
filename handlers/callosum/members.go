package callosum

import (
	"slices"
	"time"
)

// member is a connection of a pool. One that is displaced while it is leased is no member any more,
// but still leased.
type member struct {
	conn      *Conn
	id        string // of its server; empty if it was offered
	addr      string
	leased    bool
	displaced bool // or broken
	since     time.Time
	uses      uint64
	last      uint64 // the pool's uses at the last one
}

// Offer offers a connection to the pool. It keeps it while there is room; else only one whose slot
// is lower than the highest in the pool, which is closed in its place, at once or when it is put
// back. A connection that is not kept is closed. Put does nothing for it until it was handed out.
func (p *Pool) Offer(c *Conn) (kept bool) { return p.offer(&member{conn: c}) }

func (p *Pool) offer(m *member) (kept bool) {
	p.init()
	c := m.conn
	p.mu.Lock() // until m is complete: its server may end it at once
	conn, forget := p.watcher.watch(c.Conn, p.unreadTimeout(), func() {
		p.tasks.Go(func() { p.broke(m) }) // ends at once
	})
	c.Conn = conn
	c.onClose = func() {
		p.gone(m)
		p.tasks.Go(forget) // ends when what reads ahead has
	}
	out, kept := p.enterLocked(m)
	p.mu.Unlock()
	if out != nil {
		out.conn.Close()
	}
	return kept
}

// enterLocked makes m a member. out is to be closed: m itself, if it is not kept, or the one in
// whose place it is.
func (p *Pool) enterLocked(m *member) (out *member, kept bool) {
	known := m.id == "" || p.servers[m.id] == m.addr
	if p.closed || !known {
		return m, false
	}
	if len(p.members) >= p.size() {
		highest := p.members[len(p.members)-1]
		if highest.conn.slot <= m.conn.slot {
			return m, false
		}
		p.removeLocked(highest)
		if !highest.leased {
			out = highest
		}
	}
	i, _ := slices.BinarySearchFunc(p.members, m.conn.slot, func(m *member, slot int) int { return m.conn.slot - slot })
	p.members = slices.Insert(p.members, i, m)
	m.since = time.Now()
	p.freedLocked()
	return out, true
}

// removeLocked makes m no member, if it is one. It is closed when it is put back.
func (p *Pool) removeLocked(m *member) bool {
	m.displaced = true
	i := slices.Index(p.members, m)
	if i < 0 {
		return false
	}
	p.members = slices.Delete(p.members, i, i+1)
	return true
}

// broke is for a connection whose server has ended it. Who has leased it may still read what came
// before.
func (p *Pool) broke(m *member) {
	p.mu.Lock()
	p.suspectLocked(m)
	was, leased := p.removeLocked(m), m.leased
	p.mu.Unlock()
	if !leased {
		m.conn.Close()
	}
	if was {
		p.nudge()
	}
}

// suspectLocked has a server left alone until the next probe that has ended a connection before
// one: it would be tried over and over. A connection that we have closed says nothing of its
// server.
func (p *Pool) suspectLocked(m *member) {
	if m.id != "" && !m.displaced && !m.conn.isClosed() && time.Since(m.since) < p.probeInterval() {
		p.failed[m.id] = true
	}
}

// gone is for a connection that is closed: another takes its place.
func (p *Pool) gone(m *member) {
	p.mu.Lock()
	was := p.removeLocked(m)
	delete(p.leased, m.conn)
	p.mu.Unlock()
	if was {
		p.nudge()
	}
}

// dropMembers closes the connections to a server, once they are put back.
func (p *Pool) dropMembers(id string) {
	p.mu.Lock()
	var idle []*member
	for _, m := range slices.Clone(p.members) {
		if m.id != id {
			continue
		}
		p.removeLocked(m)
		if !m.leased {
			idle = append(idle, m)
		}
	}
	p.mu.Unlock()
	for _, m := range idle {
		m.conn.Close()
	}
}

// close closes the pool's connections; those that are leased when they are put back.
func (p *Pool) close() {
	p.mu.Lock()
	p.closed = true
	var idle []*member
	for _, m := range p.members {
		if !m.leased {
			idle = append(idle, m)
		}
	}
	waiting := p.waiting
	p.waiting = nil
	p.mu.Unlock()
	for _, turn := range waiting {
		turn <- nil
	}
	for _, m := range idle {
		m.conn.Close()
	}
}
