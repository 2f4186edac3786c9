package callosum

import (
	"slices"
	"time"
)

// member is a connection of a pool. A leased member that is displaced leaves the pool at once, but
// stays leased until it is put back.
type member struct {
	conn      *Conn
	id        string // the server's id; empty if the connection was offered
	addr      string
	leased    bool
	displaced bool // it has left the pool: replaced, or broken
	since     time.Time
	uses      uint64
	last      uint64 // Pool.uses when it was last handed out
}

// Offer offers a connection to the pool and reports whether the pool keeps it. A full pool keeps it
// only if its slot is lower than the highest in the pool. Then the pool closes the connection with
// the highest slot, at once or when it is put back. The pool closes a connection that it does not
// keep. Put does nothing for c until the pool has handed it out.
func (p *Pool) Offer(c *Conn) (kept bool) { return p.offer(&member{conn: c}) }

func (p *Pool) offer(m *member) (kept bool) {
	p.init()
	c := m.conn
	p.mu.Lock() // held until m is complete, as its server may end it at once
	conn, forget := p.watcher.watch(c.Conn, p.unreadTimeout(), func() {
		p.tasks.Go(func() { p.broke(m) }) // ends at once
	})
	c.Conn = conn
	c.onClose = func() {
		p.gone(m)
		p.tasks.Go(forget) // ends when the reading ahead has ended
	}
	out, kept := p.enterLocked(m)
	p.mu.Unlock()
	if out != nil {
		out.conn.Close()
	}
	return kept
}

// enterLocked makes m a member. The caller must close out unless it is nil: it is m if the pool
// does not keep m, or the member that m replaces.
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

// removeLocked removes m from the pool, and reports whether m was in it. If m is leased, Put closes
// it.
func (p *Pool) removeLocked(m *member) bool {
	m.displaced = true
	i := slices.Index(p.members, m)
	if i < 0 {
		return false
	}
	p.members = slices.Delete(p.members, i, i+1)
	return true
}

// broke is called when the server has ended a connection. If it is leased, the program may still
// read what has come before.
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

// suspectLocked excludes the server of m until the next probe if it has ended m within one
// ProbeInterval; otherwise the pool would try it over and over. It does nothing if this side has
// closed m.
func (p *Pool) suspectLocked(m *member) {
	if m.id != "" && !m.displaced && !m.conn.isClosed() && time.Since(m.since) < p.probeInterval() {
		p.failed[m.id] = true
	}
}

// gone is called when a connection has been closed. It lets Run replace the connection.
func (p *Pool) gone(m *member) {
	p.mu.Lock()
	was := p.removeLocked(m)
	delete(p.leased, m.conn)
	p.mu.Unlock()
	if was {
		p.nudge()
	}
}

// dropMembers closes the connections to a server. Leased ones are closed when they are put back.
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

// close closes the pool's connections. Leased ones are closed when they are put back.
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
