package mdns

import "golang.org/x/net/dns/dnsmessage"

// maxRepeated is how many questions of a legacy query are answered. DNS clients ask one.
const maxRepeated = 4

// repeated returns the questions that a legacy answer repeats: all, or of many the first ones that
// are about our records.
func (n names) repeated(questions []dnsmessage.Question) []dnsmessage.Question {
	if len(questions) <= maxRepeated {
		return questions
	}
	var about []dnsmessage.Question
	for i := range questions {
		if one := questions[i : i+1]; len(about) < maxRepeated && n.topics(message{questions: one}) != 0 {
			about = append(about, one...)
		}
	}
	return about
}

// legacyAnswer answers a query that came from another port than 5353, by the rules of unicast DNS
// (RFC 6762, section 6.7). It repeats the questions. What the other host will ask for next is
// additional (RFC 6763, section 12).
func (n names) legacyAnswer(l *link, port uint16, m message) []byte {
	questions := n.repeated(m.questions)
	var answers, additional []resource
	more := false
	for _, r := range append([]resource{n.serviceType()}, n.resources(l, port)...) {
		switch {
		case asked(questions, r):
			answers = append(answers, r)
			more = more || r.typ == dnsmessage.TypePTR && same(r.name, n.service) || r.typ == dnsmessage.TypeSRV
		case more:
			additional = append(additional, r)
		}
	}
	return response(m.id, questions, func(b *dnsmessage.Builder) {
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
