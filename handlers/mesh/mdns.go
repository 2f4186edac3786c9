package mesh

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	mrand "math/rand/v2"
	"slices"
	"sync"
	"time"
)

// MDNS is the [Discovery] of zero configuration: multicast DNS (RFC 6762) and DNS service discovery
// (RFC 6763), of its own, beside avahi or Bonjour if the machine has one. The service is
// _NAME._tcp, the instance is the id in upper-case hex, and TXT is empty. It finds nodes on every
// network that the machine is on, also one that comes up later. The zero value is ready.
type MDNS struct {
	// Interfaces are the names of the network interfaces to use. If empty they follow the address
	// of the node: the loopback interface for a loopback address, the interface that has the
	// address, or all that are up.
	Interfaces []string
	// Rescan is how often to look for networks that have come or gone; 5 seconds if zero. If
	// negative, the networks are those of the beginning.
	Rescan time.Duration

	pause time.Duration // between probes; probePause if zero
}

func (m *MDNS) probePause() time.Duration { return cmp.Or(m.pause, probePause) }

func (m *MDNS) rescan() time.Duration { return bound(m.Rescan, 5*time.Second, never) }

// Times of RFC 6762, sections 5.2, 6, 8 and 10.
const (
	probes       = 3
	probePause   = 250 * time.Millisecond
	afterLoss    = time.Second // of a simultaneous probe
	answerDelay  = 20 * time.Millisecond
	answerSpread = 100 * time.Millisecond
	answerPause  = time.Second // between two answers on a link
	defendPause  = 250 * time.Millisecond
	goodbyePause = 100 * time.Millisecond
	goodbyeTime  = time.Second            // in which an announcement revokes a goodbye
	moreDelay    = 400 * time.Millisecond // for the known answers that follow a truncated query
	moreSpread   = 100 * time.Millisecond
	ttlService   = 75 * 60
	ttlHost      = 120
	ttlLegacy    = 10
)

// task is what is to be done at a time.
type task struct {
	at time.Time
	do func()
}

// responder is one run of MDNS. One goroutine has it.
type responder struct {
	mdns   *MDNS
	self   Self
	events Events
	names  names

	links   map[int]*link // by interface index
	packets chan packet
	readers sync.WaitGroup

	tasks     []task // in no order
	probed    int
	probing   int       // which attempt
	announced bool      // the id is ours
	quiet     time.Time // until when it is not announced, so that the goodbye before is heeded
	err       error     // ends the run
	asked     int
	nextAsk   time.Time
	told      time.Time // of a conflict
	failure   string    // what was said last of links that fail
	cache     cache
}

// Discover announces the node and browses for others, until ctx ends; then it says goodbye. It
// fails with [ErrIDInUse] when another node has the id.
func (m *MDNS) Discover(ctx context.Context, self Self, e Events) error {
	names, err := newNames(self.Name, self.ID)
	if err != nil {
		return err
	}
	r := &responder{
		mdns: m, self: self, events: e, names: names,
		links: map[int]*link{}, packets: make(chan packet, 64), cache: newCache(self.ID),
	}
	defer r.close()
	r.rescan()
	r.probeAfter(mrand.N(m.probePause()))
	r.after(answerDelay+mrand.N(answerSpread), r.ask)
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
		case <-self.Lost:
			r.askAgain()
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

// handleQueued handles the packets that have come: whoever was late to look must not announce an id
// whose owner has answered the probe.
func (r *responder) handleQueued() {
	for range len(r.packets) {
		r.handle(<-r.packets)
	}
}

// newHost is a host name that no other machine has, nor avahi or Bonjour on this one.
func newHost() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return "mesh-" + hex.EncodeToString(b[:]) + ".local."
}

func (r *responder) after(d time.Duration, do func()) {
	r.tasks = append(r.tasks, task{time.Now().Add(d), do})
}

// next is when something is to be done; rescan is always to be.
func (r *responder) next() time.Time {
	return slices.MinFunc(r.tasks, func(a, b task) int { return a.at.Compare(b.at) }).at
}

// due does what is to be done now.
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
}

// probe asks whether somebody has the id, three times, and then announces.
func (r *responder) probe() {
	if r.probed++; r.probed > probes {
		r.announced = true
		r.begin()
		r.events.Ready()
		return
	}
	for _, l := range r.links {
		l.send(r.names.probe(r.port()))
	}
	r.probeAfter(r.mdns.probePause())
}

func (r *responder) probeAfter(d time.Duration) {
	attempt := r.probing
	r.after(d, func() {
		if r.probing == attempt {
			r.probe()
		}
	})
}

// begin announces the node. Whoever still has an earlier life of this id in its cache, which ended
// without a goodbye, would see no news in that: it is said now, and has to be a second old by the
// time of the announcement.
func (r *responder) begin() {
	if r.self.Fresh {
		r.announceTwice()
		return
	}
	withdraw := func() {
		for _, l := range r.links {
			l.send(r.names.withdrawn())
		}
	}
	withdraw()
	r.quieten(goodbyePause)
	r.after(goodbyePause, func() {
		withdraw()
		r.quieten(0) // a busy machine may be late
		r.after(time.Until(r.quiet), r.announceTwice)
	})
}

// quieten has nothing announced until a goodbye that is said after d is old enough.
func (r *responder) quieten(d time.Duration) {
	r.quiet = time.Now().Add(d + goodbyeTime + mrand.N(answerSpread) + answerSpread)
}

func (r *responder) announceTwice() {
	r.announce()
	r.after(time.Second, r.announce)
}

// announce tells everybody of the node.
func (r *responder) announce() {
	for _, l := range r.links {
		r.tell(l)
	}
}

// tell announces the node on a link, but not while a goodbye is to be heeded: all links are told
// then.
func (r *responder) tell(l *link) {
	if r.announced && !time.Now().Before(r.quiet) {
		l.told.last = time.Now()
		l.send(r.names.records(l, r.port(), lasting))
	}
}

func (r *responder) port() uint16 { return r.self.Addr.Port() }

// goodbye withdraws what was announced, twice.
func (r *responder) goodbye() {
	if !r.announced || len(r.links) == 0 {
		return
	}
	for i := range 2 {
		if i > 0 {
			time.Sleep(goodbyePause)
		}
		for _, l := range r.links {
			l.send(r.names.records(l, r.port(), farewell))
		}
	}
}

// ask browses: for the service, and for what is missing of those that are known. It is in a burst
// at the start, then rare.
func (r *responder) ask() {
	now := time.Now()
	r.cache.expire(now)
	for _, l := range r.links {
		for _, p := range r.names.query(&r.cache, now) {
			l.send(p)
		}
	}
	pause := 30*time.Second + mrand.N(30*time.Second)
	if r.asked < 3 {
		pause = time.Duration(1+r.asked) * time.Second
	}
	r.asked++
	r.nextAsk = now.Add(pause)
	at := r.nextAsk
	r.after(pause, func() {
		if r.nextAsk.Equal(at) { // not asked earlier
			r.ask()
		}
	})
}

// askAgain asks soon: a peer was lost, or there is a new network.
func (r *responder) askAgain() {
	if soon := time.Now().Add(time.Second); r.nextAsk.After(soon) {
		r.asked, r.nextAsk = 1, soon
		r.after(time.Second, func() {
			if r.nextAsk.Equal(soon) {
				r.ask()
			}
		})
	}
}

// handle does what a packet asks for, and learns from it.
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
		r.reply(l, p, m)
		return
	}
	if p.from.Port() != mdnsPort {
		return // RFC 6762, section 6
	}
	r.defend(l, m.records)
	peers, missing := r.cache.learn(r.names, m.records, l, time.Now())
	for _, p := range peers {
		r.events.Found(p)
	}
	if missing {
		r.askAgain()
	}
}

// yield looks at what others probe for while we do: who has the lesser data waits (RFC 6762,
// section 8.2).
func (r *responder) yield(records []record) {
	for _, rec := range records {
		if rec.srv && r.names.isInstance(rec.name) && r.names.lesser(r.port(), rec) && r.probed > 0 {
			r.probed, r.probing = 0, r.probing+1
			r.probeAfter(afterLoss)
			return
		}
	}
}

// defend looks for others that have our id.
func (r *responder) defend(l *link, records []record) {
	for _, rec := range records {
		if !rec.srv || rec.ttl == 0 || !r.names.isInstance(rec.name) || r.names.isHost(rec.target) {
			continue
		}
		if !r.announced {
			r.err = ErrIDInUse
			return
		}
		if time.Since(r.told) > 10*time.Second {
			r.told = time.Now()
			r.events.Failed(fmt.Errorf("%w: %s", ErrIDInUse, r.self.ID))
			r.tell(l)
		}
	}
}

// close ends all links.
func (r *responder) close() {
	for _, l := range r.links {
		l.close()
	}
	r.readers.Wait()
}
