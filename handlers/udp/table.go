package udp

import (
	"net/netip"
	"time"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/internal/grace"
)

// key identifies a client: its address, and the local address that it talks to.
type key struct {
	remote netip.AddrPort
	path   *path
}

// level is what is known about a client's address.
type level uint8

const (
	newcomer  level = iota // it has sent one datagram
	known                  // it has sent more than one
	validated              // its address is not forged
	levels
)

// table holds the clients. Each level has a list of its clients, the one that has been silent for
// longest first. A client that leaves is in no list, but stays in the table until it is gone.
type table struct {
	clients map[key]*client
	lists   [levels]list
}

// list is a list of clients.
type list struct {
	first, last *client
	n           int
}

func (t *table) init() { t.clients = map[key]*client{} }

func (t *table) len() int { return len(t.clients) }

// active returns how many clients are not leaving.
func (t *table) active() int {
	n := 0
	for i := range t.lists {
		n += t.lists[i].n
	}
	return n
}

// leaving returns how many clients are leaving.
func (t *table) leaving() int { return t.len() - t.active() }

// push adds c at the end.
func (l *list) push(c *client) {
	c.prev, c.next = l.last, nil
	if l.last != nil {
		l.last.next = c
	} else {
		l.first = c
	}
	l.last = c
	l.n++
}

// remove removes c.
func (l *list) remove(c *client) {
	if c.prev != nil {
		c.prev.next = c.next
	} else {
		l.first = c.next
	}
	if c.next != nil {
		c.next.prev = c.prev
	} else {
		l.last = c.prev
	}
	c.prev, c.next = nil, nil
	l.n--
}

// idleKnown is how long a client that is not validated, but has sent more than one datagram, must
// have been silent before it may be evicted.
const idleKnown = 10 * time.Second

// lookAt is how many clients of a list victimLocked looks at, as it skips those that are busy.
const lookAt = 16

// victimLocked returns the client to evict for a new one of level of, or nil if there is none.
func (s *Server) victimLocked(of level, now time.Duration) *client {
	idle := [levels]time.Duration{known: idleKnown, validated: s.roomWindow()}
	for l := newcomer; l < levels && (l < validated || of == validated); l++ {
		c := s.table.lists[l].first
		for i := 0; i < lookAt && c != nil && now-c.seen() >= idle[l]; i++ {
			if !c.busy {
				return c
			}
			c = c.next
		}
	}
	return nil
}

// admitLocked makes a client with key k. It returns nil if there are too many.
func (s *Server) admitLocked(k key, now time.Duration) *client {
	of := newcomer
	if s.trusts(k.remote.Addr()) {
		of = validated
	}
	if s.table.leaving() >= s.maxClients() {
		return nil
	}
	if s.table.active() >= s.maxClients() {
		v := s.victimLocked(of, now)
		if v == nil {
			return nil
		}
		s.counters.evicted.Add(1)
		v.leaveLocked(ErrEvicted, dropWaiting)
	}
	c := &client{key: k, level: of, free: of == validated}
	c.heard.Store(int64(now))
	s.table.clients[k] = c
	s.table.lists[of].push(c)
	s.expireLocked(now)
	return c
}

// hearLocked records that c has sent a datagram now.
func (s *Server) hearLocked(c *client, now time.Duration) {
	c.heard.Store(int64(now))
	if c.leaving {
		return
	}
	s.table.lists[c.level].remove(c)
	if c.level == newcomer {
		c.level = known
	}
	s.table.lists[c.level].push(c)
}

// validateLocked records that c's address is not forged.
func (s *Server) validateLocked(c *client) {
	if c.level == validated || c.leaving {
		return
	}
	s.table.lists[c.level].remove(c)
	c.level = validated
	s.table.lists[validated].push(c)
	c.path.socket.out.validate(c)
}

// expireLocked makes sure that expire is called when the first client has been silent for too long.
func (s *Server) expireLocked(now time.Duration) {
	if s.timeout() < 0 || s.expiry != nil && s.table.active() > 1 {
		return
	}
	s.lookAfterLocked(s.nextExpiryLocked(now))
}

// lookAfterLocked schedules expire after d.
func (s *Server) lookAfterLocked(d time.Duration) {
	s.due.Set(time.Now().Add(d))
	if s.expiry == nil {
		s.expiry = time.AfterFunc(d, s.expire)
		return
	}
	s.expiry.Reset(d)
}

// hasUnreadLocked reports whether there are datagrams that nobody has read.
func (s *Server) hasUnreadLocked() bool {
	for k := range s.sockets {
		if grace.HasUnread(k.pc) {
			return true
		}
	}
	return false
}

// nextExpiryLocked returns when to call expire. That is up to a hundredth of the timeout late, so
// that one call finds many clients.
func (s *Server) nextExpiryLocked(now time.Duration) time.Duration {
	due := now + s.timeout()
	for i := range s.table.lists {
		if c := s.table.lists[i].first; c != nil {
			due = min(due, c.seen()+s.timeout())
		}
	}
	return max(due-now, min(s.timeout()/100, time.Second))
}

// expire disconnects the clients that have been silent for too long. It first waits until unread
// datagrams are read, as the process may have been stopped for a while.
func (s *Server) expire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.due.Extend(s.hasUnreadLocked) {
		s.expiry.Reset(grace.Moment)
		return
	}
	now := s.now()
	for i := range s.table.lists {
		l := &s.table.lists[i]
		for c := l.first; c != nil && now-c.seen() >= s.timeout(); c = l.first {
			c.leaveLocked(handlers.ErrTimeout, deliverWaiting)
		}
	}
	if s.table.active() > 0 {
		s.lookAfterLocked(s.nextExpiryLocked(now))
	}
}
