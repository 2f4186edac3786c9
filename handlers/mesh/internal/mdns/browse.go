package mdns

import (
	mrand "math/rand/v2"
	"time"
)

// query asks for the instances of the service, and for what the cache misses of those that it
// knows. It comes again after 1, 2, 4, 8 and 16 seconds, and then every 30 to 60 seconds.
func (r *responder) query() {
	now := time.Now()
	r.cache.expire(now)
	for _, l := range r.links {
		for _, p := range r.names.query(&r.cache, now) {
			l.send(p)
		}
	}
	pause := 30*time.Second + mrand.N(30*time.Second)
	if r.queries < 5 {
		pause = time.Second << r.queries
	}
	r.queries++
	r.nextQuery = now.Add(pause)
	at := r.nextQuery
	r.after(pause, func() {
		if r.nextQuery.Equal(at) { // no query since
			r.query()
		}
	})
}

// querySoon queries within a second: an instance was lost, or there is a new network.
func (r *responder) querySoon() {
	if soon := time.Now().Add(time.Second); r.nextQuery.After(soon) {
		r.queries, r.nextQuery = 1, soon
		r.after(time.Second, func() {
			if r.nextQuery.Equal(soon) {
				r.query()
			}
		})
	}
}
