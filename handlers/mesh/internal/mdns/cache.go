package mdns

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// Bounds of the cache: whoever is on the network can fill it.
const (
	maxInstances = 1024
	maxAddrs     = 16 // of a host
)

// refresh is how long before its end a record is asked for again: queries are less far apart.
const refresh = 65 * time.Second

// cache holds the records of other hosts.
type cache struct {
	own       string // the name of our instance
	instances map[string]*cached
	hosts     map[string]map[netip.Addr]heard // by name in lower case
}

// cached is the PTR and the SRV of an instance.
type cached struct {
	until time.Time // end of the PTR
	srv   time.Time // end of the SRV, which has host and port
	host  dnsmessage.Name
	key   string // host in lower case
	port  uint16
}

// heard is when and where an address was heard of.
type heard struct {
	until time.Time // end of the record
	since time.Time // when it came last
	link  int
}

func newCache(own string) cache {
	return cache{own: own, instances: map[string]*cached{}, hosts: map[string]map[netip.Addr]heard{}}
}

func hostKey(n dnsmessage.Name) string { return lower(n.String()) }

// learn takes the records of a response that came over l. It returns the instances that they are
// about, and reports whether some of them lack a record.
func (c *cache) learn(n names, records []record, l *link, now time.Time) (found []Instance, missing bool) {
	touched := map[string]bool{}
	for _, r := range records {
		if r.ptr && same(r.name, n.service) {
			if name, ok := n.instanceOf(r.target); ok && c.pointer(name, r, now) {
				touched[name] = true
			}
		}
	}
	for _, r := range records {
		if name, ok := n.instanceOf(r.name); ok && r.srv {
			if k := c.instances[name]; k != nil {
				k.service(r, now)
				touched[name] = true
			}
		}
	}
	for _, name := range c.addresses(records, l, now) {
		touched[name] = true
	}
	for name := range touched {
		i, ok := c.instance(name, now)
		missing = missing || !ok
		if ok {
			found = append(found, i)
		}
	}
	return found, missing
}

func lifetime(r record) time.Duration { return time.Duration(min(r.ttl, 24*60*60)) * time.Second }

// pointer takes a PTR, and reports whether it is of use.
func (c *cache) pointer(name string, r record, now time.Time) bool {
	k := c.instances[name]
	switch {
	case name == c.own, k == nil && r.ttl == 0, k == nil && len(c.instances) >= maxInstances:
		return false
	case r.ttl == 0: // goodbye
		delete(c.instances, name)
		return true
	case k == nil:
		k = &cached{}
		c.instances[name] = k
	}
	k.until = now.Add(lifetime(r))
	return true
}

// service takes an SRV. A goodbye leaves it a second (RFC 6762, section 10.1).
func (k *cached) service(r record, now time.Time) {
	if r.ttl > 0 {
		k.srv, k.host, k.port, k.key = now.Add(lifetime(r)), r.target, r.port, hostKey(r.target)
	} else if last := now.Add(time.Second); k.srv.After(last) {
		k.srv = last
	}
}

// addresses takes the addresses of hosts of instances, and returns the names of these.
func (c *cache) addresses(records []record, l *link, now time.Time) (names []string) {
	if !slices.ContainsFunc(records, func(r record) bool { return r.addr.IsValid() }) {
		return nil
	}
	onHost := c.byHost()
	for _, r := range records {
		host := hostKey(r.name)
		if !r.addr.IsValid() || len(onHost[host]) == 0 {
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
		names = append(names, onHost[host]...)
	}
	return names
}

// flush forgets the addresses of a family that were heard of over l, because a record with the
// cache-flush bit replaces them. It spares those of the last second, which come from the same
// announcement, perhaps in another packet (RFC 6762, section 10.2).
func flush(all map[netip.Addr]heard, is4 bool, l *link, now time.Time) {
	for a, h := range all {
		if h.link == l.index && a.Is4() == is4 && now.Sub(h.since) > time.Second {
			delete(all, a)
		}
	}
}

// byHost returns the names of the instances on each host.
func (c *cache) byHost() map[string][]string {
	names := map[string][]string{}
	for name, k := range c.instances {
		if !k.srv.IsZero() {
			names[k.key] = append(names[k.key], name)
		}
	}
	return names
}

// instance returns an instance with its present addresses, or without any if it has left. It
// reports false if a record is missing.
func (c *cache) instance(name string, now time.Time) (Instance, bool) {
	k := c.instances[name]
	if k == nil {
		return Instance{Name: name}, true
	}
	if k.srv.Before(now) || k.port == 0 {
		return Instance{}, false
	}
	i := Instance{Name: name}
	for a := range c.hosts[k.key] {
		i.Addrs = append(i.Addrs, netip.AddrPortFrom(a, k.port))
	}
	slices.SortFunc(i.Addrs, func(a, b netip.AddrPort) int {
		return cmp.Or(rank(a.Addr())-rank(b.Addr()), a.Compare(b))
	})
	return i, len(i.Addrs) > 0
}

// rank is the place of an address in the order in which to try them: loopback, which is announced
// on this machine only, IPv4, global IPv6, then link-local ones.
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

// knownAnswer is a PTR that a query names, so that its owner need not answer.
type knownAnswer struct {
	name string
	left time.Duration
}

// knownAnswers returns the instances whose records are all in the cache, and whose PTR has half of
// its time left (RFC 6762, section 7.1).
func (c *cache) knownAnswers(now time.Time) (all []knownAnswer) {
	for name, k := range c.instances {
		if _, ok := c.instance(name, now); ok && k.until.Sub(now) > ttlService/2*time.Second {
			all = append(all, knownAnswer{name, k.until.Sub(now)})
		}
	}
	return all
}

// missing returns questions for the records that are missing, or soon will be.
func (c *cache) missing(n names, now time.Time) (all []dnsmessage.Question) {
	for instance, k := range c.instances {
		name, err := n.nameOf(instance)
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

// expire forgets the records whose time is over.
func (c *cache) expire(now time.Time) {
	used := map[string]bool{}
	for name, k := range c.instances {
		if k.until.Before(now) {
			delete(c.instances, name)
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

// unplug forgets the addresses that were heard of over a link (RFC 6762, section 10.3).
func (c *cache) unplug(link int) {
	for _, all := range c.hosts {
		for a, h := range all {
			if h.link == link {
				delete(all, a)
			}
		}
	}
}
