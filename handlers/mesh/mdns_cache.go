package mesh

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// refresh is how long before its end a record is asked for again: no less than two queries are
// apart.
const refresh = 65 * time.Second

// cache is what was heard of the other nodes. It has at most maxPeers of them, with maxAddrs each.
type cache struct {
	own   string // our id
	known map[string]*known
	hosts map[string]map[netip.Addr]heard // by name in lower case
}

// known is an instance of the service.
type known struct {
	until time.Time // of the PTR
	srv   time.Time // until when host and port are valid
	host  dnsmessage.Name
	key   string // host in lower case
	port  uint16
}

// heard is when and where an address was heard of.
type heard struct {
	until time.Time
	since time.Time // when it was heard last
	link  int
}

func newCache(own string) cache {
	return cache{own: own, known: map[string]*known{}, hosts: map[string]map[netip.Addr]heard{}}
}

func hostKey(n dnsmessage.Name) string { return strings.ToLower(n.String()) }

// learn takes what a response over l says. It returns the nodes that it is about, and whether there
// are some of which something is missing.
func (c *cache) learn(n names, records []record, l *link, now time.Time) (peers []Peer, missing bool) {
	touched := map[string]bool{}
	for _, r := range records {
		if r.ptr && same(r.name, n.service) {
			if id, ok := n.idOf(r.target); ok && c.pointer(id, r, now) {
				touched[id] = true
			}
		}
	}
	for _, r := range records {
		if id, ok := n.idOf(r.name); ok && r.srv {
			if k := c.known[id]; k != nil {
				k.service(r, now)
				touched[id] = true
			}
		}
	}
	for _, id := range c.addresses(records, l, now) {
		touched[id] = true
	}
	for id := range touched {
		p, ok := c.peer(id, now)
		missing = missing || !ok
		if ok {
			peers = append(peers, p)
		}
	}
	return peers, missing
}

func lifetime(r record) time.Duration { return time.Duration(min(r.ttl, 24*60*60)) * time.Second }

// service takes an SRV. A goodbye leaves it a second (RFC 6762, section 10.1).
func (k *known) service(r record, now time.Time) {
	if r.ttl > 0 {
		k.srv, k.host, k.port, k.key = now.Add(lifetime(r)), r.target, r.port, hostKey(r.target)
	} else if last := now.Add(time.Second); k.srv.After(last) {
		k.srv = last
	}
}

// pointer takes a PTR. It is false if that is of no use.
func (c *cache) pointer(id string, r record, now time.Time) bool {
	k := c.known[id]
	switch {
	case id == c.own, k == nil && r.ttl == 0, k == nil && len(c.known) >= maxPeers:
		return false
	case r.ttl == 0: // goodbye
		delete(c.known, id)
		return true
	case k == nil:
		k = &known{}
		c.known[id] = k
	}
	k.until = now.Add(lifetime(r))
	return true
}

// addresses takes the addresses of the hosts of nodes, and returns whose they are.
func (c *cache) addresses(records []record, l *link, now time.Time) (ids []string) {
	for _, r := range records {
		host := hostKey(r.name)
		owners := c.of(host)
		if !r.addr.IsValid() || len(owners) == 0 {
			continue
		}
		all := c.hosts[host]
		if all == nil {
			all = map[netip.Addr]heard{}
			c.hosts[host] = all
		}
		if r.flush {
			flush(all, r.addr.Is4(), l, now)
		}
		addr := r.addr
		if addr.IsLinkLocalUnicast() && addr.Is6() {
			addr = addr.WithZone(l.name)
		}
		_, known := all[addr]
		switch {
		case r.ttl == 0: // goodbye
			if all[addr].link == l.index {
				delete(all, addr)
			}
		case known || len(all) < maxAddrs:
			all[addr] = heard{until: now.Add(lifetime(r)), since: now, link: l.index}
		}
		ids = append(ids, owners...)
	}
	return ids
}

// flush forgets the addresses of a family that were heard of over l: a record with the cache-flush
// bit replaces them, but those of the last second, which come from the same announcement, perhaps
// in another packet (RFC 6762, section 10.2).
func flush(all map[netip.Addr]heard, is4 bool, l *link, now time.Time) {
	for a, h := range all {
		if h.link == l.index && a.Is4() == is4 && now.Sub(h.since) > time.Second {
			delete(all, a)
		}
	}
}

// of are the nodes on a host.
func (c *cache) of(host string) (ids []string) {
	for id, k := range c.known {
		if !k.srv.IsZero() && k.key == host {
			ids = append(ids, id)
		}
	}
	return ids
}

// peer is a node as its addresses are now: one that has left has none. It is false if something is
// missing.
func (c *cache) peer(id string, now time.Time) (Peer, bool) {
	k := c.known[id]
	if k == nil {
		return Peer{ID: id}, true
	}
	if k.srv.Before(now) || k.port == 0 {
		return Peer{}, false
	}
	p := Peer{ID: id}
	for a := range c.hosts[k.key] {
		p.Addrs = append(p.Addrs, netip.AddrPortFrom(a, k.port))
	}
	slices.SortFunc(p.Addrs, func(a, b netip.AddrPort) int {
		return cmp.Or(rank(a.Addr())-rank(b.Addr()), a.Compare(b))
	})
	return p, len(p.Addrs) > 0
}

// rank is in which order addresses are tried: loopback, which is told on this machine only, IPv4,
// global IPv6, the rest.
func rank(a netip.Addr) int {
	switch {
	case a.IsLoopback():
		return 0
	case a.Is4() && !a.IsLinkLocalUnicast():
		return 1
	case !a.IsLinkLocalUnicast():
		return 2
	}
	return 3
}

// answer is a known answer.
type answer struct {
	id   string
	left time.Duration
}

// fresh are the nodes that need not answer: of which we know everything for some time.
func (c *cache) fresh(now time.Time) (all []answer) {
	for id, k := range c.known {
		if _, ok := c.peer(id, now); ok && k.until.Sub(now) > ttlService/2*time.Second {
			all = append(all, answer{id, k.until.Sub(now)})
		}
	}
	return all
}

// missing asks for what is not known of nodes, or not for long any more.
func (c *cache) missing(n names, now time.Time) (all []dnsmessage.Question) {
	for id, k := range c.known {
		name, err := dnsmessage.NewName(id + "." + n.service.String())
		if err != nil {
			continue
		}
		if k.srv.Sub(now) < refresh {
			all = append(all, dnsmessage.Question{Name: name, Type: dnsmessage.TypeSRV, Class: dnsmessage.ClassINET})
			continue
		}
		lasts := false
		for _, h := range c.hosts[k.key] {
			lasts = lasts || h.until.Sub(now) >= refresh
		}
		if !lasts {
			all = append(all,
				dnsmessage.Question{Name: k.host, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET},
				dnsmessage.Question{Name: k.host, Type: dnsmessage.TypeAAAA, Class: dnsmessage.ClassINET})
		}
	}
	return all
}

// expire forgets what is no longer valid.
func (c *cache) expire(now time.Time) {
	used := map[string]bool{}
	for id, k := range c.known {
		if k.until.Before(now) {
			delete(c.known, id)
			continue
		}
		used[k.key] = true
	}
	for host, all := range c.hosts {
		for a, h := range all {
			if h.until.Before(now) {
				delete(all, a)
			}
		}
		if len(all) == 0 || !used[host] {
			delete(c.hosts, host)
		}
	}
}

// unplug forgets the addresses that were heard of over a link.
func (c *cache) unplug(link int) {
	for _, all := range c.hosts {
		for a, h := range all {
			if h.link == link {
				delete(all, a)
			}
		}
	}
}
