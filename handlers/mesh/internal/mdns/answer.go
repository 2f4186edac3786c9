package mdns

import (
	mrand "math/rand/v2"
	"net/netip"
	"time"
)

// answer answers a query. Whatever it asks for, the answer is all records of the instance.
func (r *responder) answer(l *link, p packet, m message) {
	if !r.announced {
		r.breakTie(m.records)
		return
	}
	if p.from.Port() != mdnsPort {
		m.records = nil // a legacy query has no known answers
		if r.names.topics(m) != 0 {
			l.sendTo(r.names.legacyAnswer(l, r.port(), m), p.from)
		}
		return
	}
	if knows(m.records, r.names.service, r.names.instance) {
		l.records.suppress(p.from.Addr())
	}
	if knows(m.records, serviceTypesName, r.names.service) {
		l.types.suppress(p.from.Addr())
	}
	t := r.names.topics(m)
	if t&topicProbe != 0 && time.Since(l.records.last) > defendPause {
		r.announceOn(l)
	}
	if t&topicRecords != 0 {
		r.answerSoon(&l.records, p.from.Addr(), m.truncated, func() { r.announceOn(l) })
	}
	if t&topicTypes != 0 {
		r.answerSoon(&l.types, p.from.Addr(), m.truncated, func() {
			l.types.last = time.Now()
			l.send(r.names.serviceTypes())
		})
	}
}

// pendingAnswer is an answer on a link that is delayed.
type pendingAnswer struct {
	last time.Time  // when it was sent last
	due  bool       // it is to be sent
	only netip.Addr // the only host that has asked, if it may still say that it knows the answer
}

// suppress cancels the answer if nobody but from has asked for it: from knows it.
func (a *pendingAnswer) suppress(from netip.Addr) {
	if a.due && a.only == from {
		a.due = false
	}
}

// answerSoon calls send after a random delay, and not within a second of the last answer (RFC 6762,
// section 6). After a truncated query it waits longer, for more known answers of the same host
// (section 7.2).
func (r *responder) answerSoon(a *pendingAnswer, from netip.Addr, truncated bool, send func()) {
	delay := answerDelay + mrand.N(answerSpread)
	if truncated {
		delay = truncatedDelay + mrand.N(truncatedSpread)
	}
	if a.due {
		if a.only != from || !truncated {
			a.only = netip.Addr{}
		}
		return
	}
	a.due, a.only = true, netip.Addr{}
	if truncated {
		a.only = from
	}
	r.after(max(delay, time.Until(a.last.Add(answerPause)), time.Until(r.silentUntil)), func() {
		if a.due {
			a.due = false
			send()
		}
	})
}
