package mdns

import (
	"cmp"
	"context"
	mrand "math/rand/v2"
	"slices"
	"sync"
	"time"
)

// Times and times to live of RFC 6762, sections 5.2, 6, 7.2, 8 and 10.
const (
	probes          = 3
	probePause      = 250 * time.Millisecond
	tieBreakPause   = time.Second // after a simultaneous probe that has won
	answerDelay     = 20 * time.Millisecond
	answerSpread    = 100 * time.Millisecond
	answerPause     = time.Second // between two answers on a link
	defendPause     = 250 * time.Millisecond
	goodbyePause    = 100 * time.Millisecond
	goodbyeTime     = time.Second            // in which an announcement revokes a goodbye
	truncatedDelay  = 400 * time.Millisecond // for the known answers that follow a truncated query
	truncatedSpread = 100 * time.Millisecond
	ttlService      = 75 * 60 // seconds
	ttlHost         = 120
	ttlLegacy       = 10
)

// responder is one Run. Only its goroutine uses it.
type responder struct {
	config Config
	events Events
	names  names

	links   map[int]*link // by interface index
	packets chan packet
	readers sync.WaitGroup

	tasks        []task    // in no order
	probed       int       // how many probes were sent
	attempt      int       // at probing, counted from 0
	announced    bool      // the name of the instance is ours
	silentUntil  time.Time // no announcement before, so that the goodbye takes effect
	queries      int       // sent since the last reason to hurry
	nextQuery    time.Time
	lastConflict time.Time // that was reported
	lastFailure  string    // of links, that was reported
	cache        cache
	err          error // ends the run
}

// task is a func to call at a time.
type task struct {
	at time.Time
	do func()
}

func newResponder(c Config, e Events, n names) *responder {
	return &responder{
		config: c, events: e, names: n,
		links: map[int]*link{}, packets: make(chan packet, 64), cache: newCache(c.Instance),
	}
}

// run runs until ctx ends or another host has the name of the instance.
func (r *responder) run(ctx context.Context) error {
	r.rescan()
	r.probeAfter(mrand.N(r.probePause()))
	r.after(answerDelay+mrand.N(answerSpread), r.query)
	for r.err == nil {
		timer := time.NewTimer(time.Until(r.next()))
		select {
		case <-ctx.Done():
			timer.Stop()
			r.goodbye()
			return nil
		case p := <-r.packets:
			r.handle(p)
			r.handleQueued()
		case <-r.config.Query:
			r.querySoon()
		case <-timer.C:
			r.handleQueued()
		}
		timer.Stop()
		if r.err == nil {
			r.due()
		}
	}
	return r.err
}

// handleQueued handles the packets that have come. It precedes the tasks: a busy machine that has
// not yet read the answer to its probe must not announce the name.
func (r *responder) handleQueued() {
	for range len(r.packets) {
		r.handle(<-r.packets)
	}
}

func (r *responder) after(d time.Duration, do func()) {
	r.tasks = append(r.tasks, task{time.Now().Add(d), do})
}

// next returns the time of the next task or answer. There always is a task: rescan.
func (r *responder) next() time.Time {
	next := slices.MinFunc(r.tasks, func(a, b task) int { return a.at.Compare(b.at) }).at
	for _, l := range r.links {
		for _, at := range []time.Time{l.records.at, l.types.at} {
			if !at.IsZero() && at.Before(next) {
				next = at
			}
		}
	}
	return next
}

// due runs the tasks whose time has come, and then sends the answers.
func (r *responder) due() {
	now := time.Now()
	for i := 0; i < len(r.tasks); {
		if t := r.tasks[i]; !t.at.After(now) {
			r.tasks = slices.Delete(r.tasks, i, i+1)
			t.do() // may append
			continue
		}
		i++
	}
	r.sendAnswers(now)
}

// handle answers a query, and learns from a response.
func (r *responder) handle(p packet) {
	l := r.links[p.ifindex]
	if l == nil {
		return
	}
	m, err := parseMessage(p.data)
	if err != nil {
		return // anybody may send anything to a group
	}
	if !m.response {
		r.answer(l, p, m)
		return
	}
	if p.from.Port() != mdnsPort {
		return // RFC 6762, section 6
	}
	r.checkConflict(l, m.records)
	if r.announced && r.names.undercut(m.records) {
		r.answerSoon(&l.records, 0, p.from.Addr(), false)
	}
	if knows(m.records, serviceTypesName, r.names.service) {
		l.types.at = time.Time{} // another host has answered (section 7.4)
	}
	found, missing := r.cache.learn(r.names, m.records, l, time.Now())
	for _, i := range found {
		r.events.Found(i)
	}
	if missing {
		r.querySoon()
	}
}

func (r *responder) port() uint16 { return r.config.Addr.Port() }

func (r *responder) probePause() time.Duration { return cmp.Or(r.config.ProbePause, probePause) }

// close closes all links.
func (r *responder) close() {
	for _, l := range r.links {
		l.close()
	}
	r.readers.Wait()
}
