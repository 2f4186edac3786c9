package mdns

import (
	"slices"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// maxMessage is how long a message to the group may be.
const maxMessage = 1400

// announcement is a response with all records of the instance, as they are announced on l.
func (n names) announcement(l *link, port uint16, f form) []byte {
	return response(0, nil, func(b *dnsmessage.Builder) {
		for _, r := range n.resources(l, port) {
			r.append(b, f)
		}
	})
}

// withdrawal is a response that says goodbye for the instance, but not for its host.
func (n names) withdrawal() []byte {
	return response(0, nil, func(b *dnsmessage.Builder) {
		_ = b.PTRResource(goodbye.header(n.service, false, ttlService), dnsmessage.PTRResource{PTR: n.instance})
	})
}

// serviceTypes is a response that lists the service.
func (n names) serviceTypes() []byte {
	return response(0, nil, func(b *dnsmessage.Builder) { n.serviceType().append(b, regular) })
}

// response makes a response. Only one to a legacy query has an id and questions.
func response(id uint16, questions []dnsmessage.Question, answers func(b *dnsmessage.Builder)) []byte {
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{ID: id, Response: true, Authoritative: true})
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

// probe is a query for the name of the instance, with the record that we would have it be.
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

// query returns messages that ask for the service, with the known answers, and for the records that
// the cache misses. If the known answers do not fit into one message, more follow, and all but the
// last are marked as truncated (RFC 6762, section 7.2).
func (n names) query(c *cache, now time.Time) (all [][]byte) {
	ptr := []dnsmessage.Question{{Name: n.service, Type: dnsmessage.TypePTR, Class: dnsmessage.ClassINET}}
	known := c.knownAnswers(now)
	for i := 0; i == 0 || len(known) > 0; i++ {
		fit := min(len(known), maxKnown)
		all = append(all, n.queryMessage(ptr, known[:fit], fit < len(known)))
		ptr, known = nil, known[fit:]
	}
	for chunk := range slices.Chunk(c.missing(n, now), 10) {
		all = append(all, n.queryMessage(chunk, nil, false))
	}
	return all
}

// maxKnown is how many known answers fit into a message, beside a question. Each takes at most 80
// bytes: 63 of its name, and 17 of the rest of the record.
const maxKnown = (maxMessage - 300) / 80

func (n names) queryMessage(questions []dnsmessage.Question, known []knownAnswer, truncated bool) []byte {
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{Truncated: truncated})
	b.EnableCompression()
	_ = b.StartQuestions()
	for _, q := range questions {
		_ = b.Question(q)
	}
	_ = b.StartAnswers()
	for _, k := range known {
		h := dnsmessage.ResourceHeader{Name: n.service, Class: dnsmessage.ClassINET, TTL: uint32(k.left.Seconds())}
		if name, err := n.nameOf(k.name); err == nil {
			_ = b.PTRResource(h, dnsmessage.PTRResource{PTR: name})
		}
	}
	p, _ := b.Finish()
	return p
}
