package portluck

import (
	"net/netip"
	"sync"
)

// peer is who connections are counted for: an address, or a /64 of IPv6. It is zero on a Unix
// socket, and for a proxy.
type peer netip.Addr

func peerOf(a netip.AddrPort) peer {
	addr := a.Addr().Unmap().WithZone("")
	if addr.Is6() {
		net, _ := addr.Prefix(64)
		addr = net.Addr()
	}
	return peer(addr)
}

// limits counts the open connections and knows them all.
type limits struct {
	max, perIP int

	mu    sync.Mutex
	n     int
	head  *conn           // list of those that the loop has not taken, newest first
	peers map[peer]*share // only with perIP
	rest  share           // of connections that are not counted by their peer
}

// share is the places of one peer. It is what is left of a connection that the loop has taken:
// closing it gives one of its places back.
type share struct {
	limits *limits
	peer   peer
	n      int // under limits.mu
}

// quota is what limits knows of a connection.
type quota struct {
	share      *share
	prev, next *conn
}

// admit counts c, as a connection of p. It is false when there are too many.
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
	if l.head != nil {
		l.head.prev = c
	}
	c.next, l.head = l.head, c
	return true
}

// rename counts c, which is nobody's yet, as a connection of p. It is false when that has too many.
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

// shareLocked is the share of p.
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

// Close gives a place back.
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

// forget takes c out of the list. Its place stays taken.
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

// release gives the place of c back.
func (l *limits) release(c *conn) {
	l.forget(c)
	c.share.Close()
}

// open is how many connections there are.
func (l *limits) open() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.n
}

// all are the connections that there are now, but for those that the loop has taken.
func (l *limits) all() []*conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := make([]*conn, 0, l.n)
	for c := l.head; c != nil; c = c.next {
		all = append(all, c)
	}
	return all
}
