package portluck

import (
	"net/netip"
	"sync"
)

// peer is the key that connections are counted by: an IPv4 address or an IPv6 /64. It is zero for
// Unix sockets and for proxies.
type peer netip.Addr

func peerOf(a netip.AddrPort) peer {
	addr := a.Addr().Unmap().WithZone("")
	if addr.Is6() {
		net, _ := addr.Prefix(64)
		addr = net.Addr()
	}
	return peer(addr)
}

// limits counts the open connections, and lists those that the loop has not taken.
type limits struct {
	max, perIP int

	mu    sync.Mutex
	n     int
	head  *conn           // list of the connections that the loop has not taken, newest first
	peers map[peer]*share // only with perIP
	rest  share           // of connections that are not counted per peer
}

// share counts the slots of one peer. Once the loop has taken a connection its share is all that
// remains of it here: Close frees one slot.
type share struct {
	limits *limits
	peer   peer
	n      int // under limits.mu
}

// quota is the part of a connection that limits owns.
type quota struct {
	share      *share
	prev, next *conn
}

// admit counts c as a connection of p. It returns false if there are too many.
func (l *limits) admit(c *conn, p peer) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.max > 0 && l.n >= l.max {
		return false
	}
	s := l.shareLocked(p)
	if s != &l.rest && s.n >= l.perIP {
		return false
	}
	s.n++
	l.n++
	c.share = s
	l.listLocked(c)
	return true
}

// list puts c, which the loop has given back with its slot, into the list.
func (l *limits) list(c *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.listLocked(c)
}

func (l *limits) listLocked(c *conn) {
	if l.head != nil {
		l.head.prev = c
	}
	c.next, l.head = l.head, c
}

// rename moves c, which has no peer yet, to p. It returns false if p has too many connections.
func (l *limits) rename(c *conn, p peer) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.shareLocked(p)
	if s != &l.rest && s.n >= l.perIP {
		return false
	}
	s.n++
	c.share.n--
	c.share = s
	return true
}

// shareLocked returns the share of p, and makes it if need be.
func (l *limits) shareLocked(p peer) *share {
	if l.rest.limits == nil {
		l.rest.limits = l
	}
	if l.perIP <= 0 || !netip.Addr(p).IsValid() {
		return &l.rest
	}
	s := l.peers[p]
	if s == nil {
		if l.peers == nil {
			l.peers = map[peer]*share{}
		}
		s = &share{limits: l, peer: p}
		l.peers[p] = s
	}
	return s
}

// Close frees one slot.
func (s *share) Close() error {
	l := s.limits
	l.mu.Lock()
	defer l.mu.Unlock()
	l.n--
	if s.n--; s.n == 0 && s != &l.rest {
		delete(l.peers, s.peer)
	}
	return nil
}

// forget removes c from the list. It keeps its slot.
func (l *limits) forget(c *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.prev != nil {
		c.prev.next = c.next
	} else {
		l.head = c.next
	}
	if c.next != nil {
		c.next.prev = c.prev
	}
	c.prev, c.next = nil, nil
}

// release removes c from the list and frees its slot.
func (l *limits) release(c *conn) {
	l.forget(c)
	c.share.Close()
}

// open returns the number of open connections.
func (l *limits) open() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.n
}

// all returns the open connections that the loop has not taken.
func (l *limits) all() []*conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := make([]*conn, 0, l.n)
	for c := l.head; c != nil; c = c.next {
		all = append(all, c)
	}
	return all
}
