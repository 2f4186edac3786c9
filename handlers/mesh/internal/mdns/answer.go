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
	switch {
	case t&topicShared != 0:
		r.answerSoon(&l.records, answerDelay+mrand.N(answerSpread), p.from.Addr(), m.truncated)
	case t&topicUnique != 0:
		r.answerSoon(&l.records, 0, p.from.Addr(), m.truncated)
	}
	if t&topicTypes != 0 {
		r.answerSoon(&l.types, answerDelay+mrand.N(answerSpread), p.from.Addr(), m.truncated)
	}
}

// pendingAnswer is an answer on a link that is delayed.
type pendingAnswer struct {
	last time.Time  // when it was sent last
	at   time.Time  // when to send it; zero if nobody has asked since
	only netip.Addr // the only host that has asked, if it may still say that it knows the answer
}

// suppress cancels the answer if nobody but from has asked for it: from knows it.
func (a *pendingAnswer) suppress(from netip.Addr) {
	if a.only == from {
		a.at = time.Time{}
	}
}

// takeDue reports whether it is time to send the answer, which is no longer pending then.
func (a *pendingAnswer) takeDue(now time.Time) bool {
	if a.at.IsZero() || a.at.After(now) {
		return false
	}
	a.at = time.Time{}
	return true
}

// answerSoon has an answer sent after delay, and not within a second of the last one (RFC 6762,
// section 6). After a truncated query it waits longer, for more known answers of the same host
// (section 7.2).
func (r *responder) answerSoon(a *pendingAnswer, delay time.Duration, from netip.Addr, truncated bool) {
	if !a.at.IsZero() {
		if a.only != from || !truncated {
			a.only = netip.Addr{}
		}
		return
	}
	a.only = netip.Addr{}
	if truncated {
		delay, a.only = truncatedDelay+mrand.N(truncatedSpread), from
	}
	a.at = time.Now().Add(max(delay, time.Until(a.last.Add(answerPause)), time.Until(r.silentUntil)))
}

// sendAnswers sends the answers whose time has come.
func (r *responder) sendAnswers(now time.Time) {
	for _, l := range r.links {
		if l.records.takeDue(now) {
			r.announceOn(l)
		}
		if l.types.takeDue(now) {
			l.types.last = time.Now()
			l.send(r.names.serviceTypes())
		}
	}
}
