package mesh

import (
	mrand "math/rand/v2"
	"net/netip"
	"time"
)

// reply answers a query: what is ours is told all at once.
func (r *responder) reply(l *link, p packet, m message) {
	if !r.announced {
		r.yield(m.records)
		return
	}
	if p.from.Port() != mdnsPort {
		m.records = nil // known answers are none of unicast
		if r.names.asks(m) != 0 {
			l.sendTo(r.names.legacy(l, r.port(), m), p.from)
		}
		return
	}
	if knows(m.records, r.names.service, r.names.instance) {
		l.told.settle(p.from.Addr())
	}
	if knows(m.records, servicesName, r.names.service) {
		l.listed.settle(p.from.Addr())
	}
	q := r.names.asks(m)
	if q&probed != 0 && time.Since(l.told.last) > defendPause {
		r.tell(l)
	}
	if q&ours != 0 {
		r.owe(&l.told, p.from.Addr(), m.truncated, func() { r.tell(l) })
	}
	if q&enumeration != 0 {
		r.owe(&l.listed, p.from.Addr(), m.truncated, func() {
			l.listed.last = time.Now()
			l.send(r.names.enumeration())
		})
	}
}

// debt is an answer on a link.
type debt struct {
	last time.Time  // that it was given
	due  bool       // it is to be given again
	only netip.Addr // who has asked and may still say that it knows; not valid if there are others
}

// settle is for one who knows the answer.
func (d *debt) settle(from netip.Addr) {
	if d.due && d.only == from {
		d.due = false
	}
}

// owe answers soon, but not again and again. A truncated query is followed by more known answers of
// the same host (RFC 6762, section 7.2).
func (r *responder) owe(d *debt, from netip.Addr, truncated bool, pay func()) {
	delay := answerDelay + mrand.N(answerSpread)
	if truncated {
		delay = moreDelay + mrand.N(moreSpread)
	}
	if d.due {
		if d.only != from || !truncated {
			d.only = netip.Addr{}
		}
		return
	}
	d.due, d.only = true, netip.Addr{}
	if truncated {
		d.only = from
	}
	r.after(max(delay, time.Until(d.last.Add(answerPause)), time.Until(r.quiet)), func() {
		if d.due {
			d.due = false
			pay()
		}
	})
}
