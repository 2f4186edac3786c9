package portluck

import (
	"net/netip"
	"sync"
)

// peer is who connections are counted for: an address, or a /64 of IPv6. It is zero on a Unix socket.
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
	head  *conn        // list of all, newest first
	peers map[peer]int // only with perIP
}

// member is the part of a connection that limits has.
type member struct {
	peer       peer
	prev, next *conn
}

// admit counts c. It is false when there are too many.
func (l *limits) admit(c *conn) bool {
	p := peerOf(c.info.Remote)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.max > 0 && l.n >= l.max {
		return false
	}
	if l.perIP > 0 && netip.Addr(p).IsValid() {
		if l.peers[p] >= l.perIP {
			return false
		}
		if l.peers == nil {
			l.peers = map[peer]int{}
		}
		l.peers[p]++
	}
	l.n++
	c.peer = p
	if l.head != nil {
		l.head.prev = c
	}
	c.next, l.head = l.head, c
	return true
}

// release gives the place of c back.
func (l *limits) release(c *conn) {
	p := c.peer
	l.mu.Lock()
	defer l.mu.Unlock()
	l.n--
	if c.prev != nil {
		c.prev.next = c.next
	} else {
		l.head = c.next
	}
	if c.next != nil {
		c.next.prev = c.prev
	}
	c.prev, c.next = nil, nil
	if n, ok := l.peers[p]; ok {
		if n == 1 {
			delete(l.peers, p)
			return
		}
		l.peers[p] = n - 1
	}
}

// open is how many connections there are.
func (l *limits) open() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.n
}

// all are the connections that there are now.
func (l *limits) all() []*conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := make([]*conn, 0, l.n)
	for c := l.head; c != nil; c = c.next {
		all = append(all, c)
	}
	return all
}
