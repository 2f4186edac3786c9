package mdns

import (
	"fmt"
	mrand "math/rand/v2"
	"time"
)

// probe asks whether another host has the name of the instance, three times, and then announces
// (RFC 6762, section 8.1).
func (r *responder) probe() {
	if r.probed++; r.probed > probes {
		r.announced = true
		r.startAnnouncing()
		r.events.Ready()
		return
	}
	for _, l := range r.links {
		l.send(r.names.probe(r.port()))
	}
	r.probeAfter(r.probePause())
}

// probeAfter probes after d, unless probing begins again before.
func (r *responder) probeAfter(d time.Duration) {
	attempt := r.attempt
	r.after(d, func() {
		if r.attempt == attempt {
			r.probe()
		}
	})
}

// breakTie compares our probe with that of another host for the same name. If ours is the lesser
// one, probing begins again after a second (RFC 6762, section 8.2).
func (r *responder) breakTie(records []record) {
	for _, rec := range records {
		if rec.srv && r.names.isInstance(rec.name) && r.names.lesser(r.port(), rec) && r.probed > 0 {
			r.probed, r.attempt = 0, r.attempt+1
			r.probeAfter(tieBreakPause)
			return
		}
	}
}

// checkConflict looks in a response for another host that has the name of the instance. While we
// probe for the name, that ends the run. Later it is reported, and our records are announced again.
func (r *responder) checkConflict(l *link, records []record) {
	for _, rec := range records {
		if !rec.srv || rec.ttl == 0 || !r.names.isInstance(rec.name) || r.names.isHost(rec.target) {
			continue
		}
		if !r.announced {
			r.err = ErrConflict
			return
		}
		if time.Since(r.lastConflict) > 10*time.Second {
			r.lastConflict = time.Now()
			r.events.Failed(fmt.Errorf("%w: %s", ErrConflict, r.config.Instance))
			r.announceOn(l)
		}
	}
}

// startAnnouncing announces the instance. If an earlier life of it ended without a goodbye, other
// hosts still have its records in their caches, and the announcement would be no news to them. So
// two goodbyes go first, and the announcement a second or more after them.
func (r *responder) startAnnouncing() {
	if r.config.Fresh {
		r.announceTwice()
		return
	}
	withdraw := func() {
		for _, l := range r.links {
			l.send(r.names.withdrawal())
		}
	}
	withdraw()
	r.silence(goodbyePause)
	r.after(goodbyePause, func() {
		withdraw()
		r.silence(0) // a busy machine may be late
		r.after(time.Until(r.silentUntil), r.announceTwice)
	})
}

// silence puts announcements off until a goodbye that is sent after d has taken effect.
func (r *responder) silence(d time.Duration) {
	r.silentUntil = time.Now().Add(d + goodbyeTime + mrand.N(answerSpread) + answerSpread)
}

func (r *responder) announceTwice() {
	r.announce()
	r.after(time.Second, r.announce)
}

// announce announces the instance on all links.
func (r *responder) announce() {
	for _, l := range r.links {
		r.announceOn(l)
	}
}

// announceOn announces the instance on a link. It does nothing while a goodbye takes effect: all
// links get the announcement that follows.
func (r *responder) announceOn(l *link) {
	if r.announced && !time.Now().Before(r.silentUntil) {
		l.records = pendingAnswer{last: time.Now()} // it answers all who have asked
		l.send(r.names.announcement(l, r.port(), regular))
	}
}

// appear announces the instance on a new network, or with new addresses, and asks who is there.
func (r *responder) appear(l *link) {
	if !r.announced {
		return // probe announces it
	}
	r.after(max(0, time.Until(r.silentUntil)), func() { r.announceOn(l) })
	r.after(max(time.Second, time.Until(r.silentUntil)), func() { r.announceOn(l) })
	r.querySoon()
}

// goodbye withdraws what was announced, twice (RFC 6762, section 10.1).
func (r *responder) goodbye() {
	if !r.announced || len(r.links) == 0 {
		return
	}
	for i := range 2 {
		if i > 0 {
			time.Sleep(goodbyePause)
		}
		for _, l := range r.links {
			l.send(r.names.announcement(l, r.port(), goodbye))
		}
	}
}
