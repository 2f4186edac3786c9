package mesh

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// names are those of a node in the DNS, and the messages that it sends.
type names struct {
	service, instance, host dnsmessage.Name
}

// cacheFlush is the bit of a class that says that the record replaces all others of its name and
// type.
const cacheFlush = 1 << 15

var servicesName = dnsmessage.MustNewName("_services._dns-sd._udp.local.")

// room is how long a message may be that is sent to all.
const room = 1400

func newNames(mesh, id string) (names, error) {
	var n names
	var err error
	if n.service, err = dnsmessage.NewName("_" + mesh + "._tcp.local."); err != nil {
		return n, fmt.Errorf("name of the service: %w", err)
	}
	if n.instance, err = dnsmessage.NewName(id + "." + n.service.String()); err != nil {
		return n, fmt.Errorf("name of the instance: %w", err)
	}
	n.host = dnsmessage.MustNewName(newHost())
	return n, nil
}

func same(a, b dnsmessage.Name) bool { return strings.EqualFold(a.String(), b.String()) }

func (n names) isInstance(name dnsmessage.Name) bool { return same(name, n.instance) }
func (n names) isHost(name dnsmessage.Name) bool     { return same(name, n.host) }

// idOf is the id in the name of an instance of the service.
func (n names) idOf(name dnsmessage.Name) (string, bool) {
	id, rest, _ := strings.Cut(name.String(), ".")
	if !strings.EqualFold(rest, n.service.String()) || CheckID(id) != nil {
		return "", false
	}
	return strings.ToUpper(id), true
}

// lesser says that our data is before that of another's probe.
func (n names) lesser(port uint16, rec record) bool {
	if port != rec.port {
		return port < rec.port
	}
	return n.host.String() < strings.ToLower(rec.target.String())
}

// subject is what a query is about, a bit each.
type subject int

const (
	enumeration subject = 1 << iota // which services there are (RFC 6763, section 9)
	ours                            // the records of this node
	probed                          // the id, which somebody wants to have
)

// asks returns what of ours a query is about. What it says that it knows already it does not ask
// for.
func (n names) asks(m message) (about subject) {
	for _, q := range m.questions {
		all := q.Type == dnsmessage.TypeALL
		switch {
		case n.isInstance(q.Name) && all:
			about |= probed
		case same(q.Name, servicesName) && (all || q.Type == dnsmessage.TypePTR):
			if !knows(m.records, servicesName, n.service) {
				about |= enumeration
			}
		case same(q.Name, n.service) && (all || q.Type == dnsmessage.TypePTR):
			if !knows(m.records, n.service, n.instance) {
				about |= ours
			}
		case n.isInstance(q.Name) && (q.Type == dnsmessage.TypeSRV || q.Type == dnsmessage.TypeTXT):
			about |= ours
		case n.isHost(q.Name) && (all || q.Type == dnsmessage.TypeA || q.Type == dnsmessage.TypeAAAA):
			about |= ours
		}
	}
	return about
}

// knows reports whether this PTR is among the known answers (RFC 6762, section 7.1).
func knows(records []record, name, target dnsmessage.Name) bool {
	return slices.ContainsFunc(records, func(r record) bool {
		return r.ptr && same(r.name, name) && same(r.target, target) && r.ttl >= ttlService/2
	})
}

// validity is what the times to live of the records say.
type validity int

const (
	lasting validity = iota
	farewell
	legacy // for who has asked by the rules of unicast
)

func (v validity) header(name dnsmessage.Name, unique bool, ttl uint32) dnsmessage.ResourceHeader {
	h := dnsmessage.ResourceHeader{Name: name, Class: dnsmessage.ClassINET, TTL: ttl}
	switch {
	case v == farewell:
		h.TTL = 0
	case v == legacy:
		h.TTL = ttlLegacy
	}
	if unique && v != legacy {
		h.Class |= cacheFlush
	}
	return h
}

// records is all that is ours, as it is told on l.
func (n names) records(l *link, port uint16, v validity) []byte {
	return n.respond(dnsmessage.Header{Response: true, Authoritative: true}, nil, func(b *dnsmessage.Builder) {
		n.appendRecords(b, l, port, v)
	})
}

// withdrawn says that the instance has gone.
func (n names) withdrawn() []byte {
	return n.respond(dnsmessage.Header{Response: true, Authoritative: true}, nil, func(b *dnsmessage.Builder) {
		_ = b.PTRResource(farewell.header(n.service, false, ttlService), dnsmessage.PTRResource{PTR: n.instance})
	})
}

// enumeration tells of the service.
func (n names) enumeration() []byte {
	return n.respond(dnsmessage.Header{Response: true, Authoritative: true}, nil, func(b *dnsmessage.Builder) {
		n.listed().append(b, lasting)
	})
}

func (n names) respond(h dnsmessage.Header, questions []dnsmessage.Question, answers func(b *dnsmessage.Builder)) []byte {
	b := dnsmessage.NewBuilder(nil, h)
	b.EnableCompression()
	_ = b.StartQuestions() // cannot fail in this order, nor can what follows
	for _, q := range questions {
		q.Class &^= cacheFlush
		_ = b.Question(q)
	}
	_ = b.StartAnswers()
	answers(&b)
	p, _ := b.Finish()
	return p
}

func (n names) appendRecords(b *dnsmessage.Builder, l *link, port uint16, v validity) {
	for _, r := range n.all(l, port) {
		r.append(b, v)
	}
}

// probe asks for the id, and says what we would have it be.
func (n names) probe(port uint16) []byte {
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{})
	b.EnableCompression()
	_ = b.StartQuestions()
	_ = b.Question(dnsmessage.Question{Name: n.instance, Type: dnsmessage.TypeALL, Class: dnsmessage.ClassINET})
	_ = b.StartAuthorities()
	h := dnsmessage.ResourceHeader{Name: n.instance, Class: dnsmessage.ClassINET, TTL: ttlHost}
	_ = b.SRVResource(h, dnsmessage.SRVResource{Port: port, Target: n.host})
	p, _ := b.Finish()
	return p
}

// query is the messages that ask for the service, saying who is known as far as there is room, and
// for what is missing.
func (n names) query(c *cache, now time.Time) [][]byte {
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{})
	b.EnableCompression()
	_ = b.StartQuestions()
	ptr := dnsmessage.Question{Name: n.service, Type: dnsmessage.TypePTR, Class: dnsmessage.ClassINET}
	_ = b.Question(ptr)
	_ = b.StartAnswers()
	size := 64 + len(n.service.String())
	for _, k := range c.fresh(now) {
		if size += 80; size > room {
			break
		}
		h := dnsmessage.ResourceHeader{Name: n.service, Class: dnsmessage.ClassINET, TTL: uint32(k.left.Seconds())}
		name, err := dnsmessage.NewName(k.id + "." + n.service.String())
		if err == nil {
			_ = b.PTRResource(h, dnsmessage.PTRResource{PTR: name})
		}
	}
	p, _ := b.Finish()
	all := [][]byte{p}
	for chunk := range slices.Chunk(c.missing(n, now), 10) {
		b := dnsmessage.NewBuilder(nil, dnsmessage.Header{})
		b.EnableCompression()
		_ = b.StartQuestions()
		for _, q := range chunk {
			_ = b.Question(q)
		}
		p, _ := b.Finish()
		all = append(all, p)
	}
	return all
}
