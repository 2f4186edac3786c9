package mesh

import (
	"net/netip"

	"golang.org/x/net/dns/dnsmessage"
)

// resource is a record of ours.
type resource struct {
	name   dnsmessage.Name
	typ    dnsmessage.Type
	append func(b *dnsmessage.Builder, v validity)
}

// all returns the records of this node, as they are told on l.
func (n names) all(l *link, port uint16) []resource {
	all := []resource{
		{n.service, dnsmessage.TypePTR, func(b *dnsmessage.Builder, v validity) {
			_ = b.PTRResource(v.header(n.service, false, ttlService), dnsmessage.PTRResource{PTR: n.instance})
		}},
		{n.instance, dnsmessage.TypeSRV, func(b *dnsmessage.Builder, v validity) {
			_ = b.SRVResource(v.header(n.instance, true, ttlHost), dnsmessage.SRVResource{Port: port, Target: n.host})
		}},
		{n.instance, dnsmessage.TypeTXT, func(b *dnsmessage.Builder, v validity) {
			_ = b.TXTResource(v.header(n.instance, true, ttlService), dnsmessage.TXTResource{TXT: []string{""}})
		}},
	}
	for _, a := range l.addrs {
		all = append(all, n.address(a))
	}
	return all
}

func (n names) address(a netip.Addr) resource {
	if a.Is4() {
		return resource{n.host, dnsmessage.TypeA, func(b *dnsmessage.Builder, v validity) {
			_ = b.AResource(v.header(n.host, true, ttlHost), dnsmessage.AResource{A: a.As4()})
		}}
	}
	return resource{n.host, dnsmessage.TypeAAAA, func(b *dnsmessage.Builder, v validity) {
		_ = b.AAAAResource(v.header(n.host, true, ttlHost), dnsmessage.AAAAResource{AAAA: a.As16()})
	}}
}

// listed is the record that tells which service there is (RFC 6763, section 9).
func (n names) listed() resource {
	return resource{servicesName, dnsmessage.TypePTR, func(b *dnsmessage.Builder, v validity) {
		_ = b.PTRResource(v.header(servicesName, false, ttlService), dnsmessage.PTRResource{PTR: n.service})
	}}
}

// maxRepeated is how many questions of a query are answered by unicast. DNS clients ask one.
const maxRepeated = 4

// repeated returns the questions that a unicast answer repeats: all, or of many the first of those
// that are about this node.
func (n names) repeated(questions []dnsmessage.Question) []dnsmessage.Question {
	if len(questions) <= maxRepeated {
		return questions
	}
	var about []dnsmessage.Question
	for i := range questions {
		if one := questions[i : i+1]; len(about) < maxRepeated && n.asks(message{questions: one}) != 0 {
			about = append(about, one...)
		}
	}
	return about
}

// legacy answers one who has asked from another port than 5353, by the rules of unicast (RFC 6762,
// section 6.7): the answers are those to its questions, which are repeated, and what it will ask
// for next (RFC 6763, section 12) is additional.
func (n names) legacy(l *link, port uint16, m message) []byte {
	questions := n.repeated(m.questions)
	var answers, additional []resource
	more := false
	for _, r := range append([]resource{n.listed()}, n.all(l, port)...) {
		switch {
		case asked(questions, r):
			answers = append(answers, r)
			more = more || r.typ == dnsmessage.TypePTR && same(r.name, n.service) || r.typ == dnsmessage.TypeSRV
		case more:
			additional = append(additional, r)
		}
	}
	h := dnsmessage.Header{ID: m.id, Response: true, Authoritative: true}
	return n.respond(h, questions, func(b *dnsmessage.Builder) {
		for _, r := range answers {
			r.append(b, legacy)
		}
		_ = b.StartAdditionals()
		for _, r := range additional {
			r.append(b, legacy)
		}
	})
}

// asked reports whether r answers one of the questions.
func asked(questions []dnsmessage.Question, r resource) bool {
	for _, q := range questions {
		if same(q.Name, r.name) && (q.Type == r.typ || q.Type == dnsmessage.TypeALL) {
			return true
		}
	}
	return false
}
