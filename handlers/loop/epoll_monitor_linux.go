package loop

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/portluck/portluck/handlers"
)

// stealAfter is how long a turn may take, and at the most as much again, until its shard is given to another runner.
const stealAfter = 4 * time.Millisecond

// readSize is how much is read at once, and turnSize how much by a runner that takes a single turn: there may be thousands,
// each with a callback that blocks.
const (
	readSize = 128 << 10
	turnSize = smallPart + 4<<10
)

// A runner is a goroutine that drives connections, with the buffers that it takes from one to the next.
type runner struct {
	in     []byte // what was read; see buffer
	cipher []byte // what was read of TLS; made on demand
	budget int    // what may still be read in this turn
	now    uint64 // when its turn, or the batch of events, began

	// The messages of the Decode that is running.
	m      handlers.Messages
	conn   *polled
	failed error // of an event
	told   bool  // an event was raised
	got    bool  // the read of this turn has brought something

	turns uint64

	cur   atomic.Pointer[polled] // conn, for the monitor
	state atomic.Uint64          // odd in a turn, even between two; stolen if it was lost in one

	// These are the crew's.
	shard *shard // that it has, if it was not lost
	index int
	seen  uint64 // state at the last look
}

const stolen = ^uint64(0)

func newRunner() *runner {
	r := &runner{}
	r.m.Events = r
	return r
}

// buffer is in, made on demand: a runner that is only to end a connection, as thousands may be at once, needs none.
func (r *runner) buffer() []byte {
	if n := r.size(); len(r.in) < n {
		r.in = make([]byte, n)
	}
	return r.in
}

func (r *runner) size() int {
	if r.shard == nil {
		return turnSize
	}
	return readSize
}

// begin and end enclose a turn. end is false when the runner was taken for lost in it.
func (r *runner) begin(c *polled) {
	r.conn = c
	r.cur.Store(c)
	r.turns += 2
	r.state.Store(r.turns | 1)
}

func (r *runner) end() bool { return r.state.CompareAndSwap(r.turns|1, r.turns) }

// clean drops what a codec has left, which is not for the runner's next connection.
func (r *runner) clean() { r.m.Reply, r.m.Next, r.m.Hijack = r.m.Reply[:0], nil, nil }

// lost says that the turn has taken its time: the runner has no shard any more.
func (r *runner) lost() bool { return r.state.Load() == stolen }

// tick sets the clock of a turn that takes its time.
func (r *runner) tick() {
	if r.lost() {
		r.now = r.conn.now()
	}
}

// crew is the runners of a loop. A few that have nothing to do are kept: their buffers are large.
type crew struct {
	mu   sync.Mutex
	all  []*runner
	free []*runner
}

// keepRunners is how many of them.
const keepRunners = 8

// get returns a runner for s, or one that takes a single turn if s is nil.
func (w *crew) get(s *shard) *runner {
	w.mu.Lock()
	defer w.mu.Unlock()
	var r *runner
	if n := len(w.free); n > 0 {
		r, w.free = w.free[n-1], w.free[:n-1]
	} else {
		r = newRunner()
		r.index = len(w.all)
		w.all = append(w.all, r)
	}
	r.shard = s
	return r
}

// put takes back a runner that has done.
func (w *crew) put(r *runner) {
	r.conn = nil
	r.cur.Store(nil)
	r.state.Store(0)
	w.mu.Lock()
	defer w.mu.Unlock()
	r.shard = nil
	if len(w.free) < keepRunners {
		w.free = append(w.free, r)
		return
	}
	last := len(w.all) - 1
	w.all[r.index] = w.all[last]
	w.all[r.index].index = r.index
	w.all[last] = nil
	w.all = w.all[:last]
}

// monitor looks for runners that do not come back from a callback. What that has written is sent, and the runner's shard,
// if it has one, goes to another. It sleeps while nothing happens.
type monitor struct {
	asleep atomic.Bool
	wake   chan struct{}
	done   chan struct{}
	gone   atomic.Int32 // shards that are closed
}

// leave says that another shard is closed; the last one of n ends the monitor.
func (m *monitor) leave(n int) {
	if int(m.gone.Add(1)) == n {
		close(m.done)
	}
}

// rouse sees to it that the monitor is awake.
func (m *monitor) rouse() {
	if m.asleep.Load() && m.asleep.CompareAndSwap(true, false) {
		select {
		case m.wake <- struct{}{}:
		default:
		}
	}
}

// sleepy is after how many looks at which nothing has happened the monitor sleeps.
const sleepy = 16

// run looks at the runners every stealAfter while something happens.
func (m *monitor) run(w *crew) {
	t := time.NewTicker(stealAfter)
	defer t.Stop()
	for still := 0; ; {
		select {
		case <-t.C:
		case <-m.done:
			return
		}
		if still++; m.look(w) {
			still = 0
		}
		if still < sleepy {
			continue
		}
		t.Stop()
		m.asleep.Store(true)
		if !m.look(w) { // a turn that began before asleep was set has not roused
			select {
			case <-m.wake:
			case <-m.done:
				return
			}
		}
		m.asleep.Store(false)
		still = 0
		t.Reset(stealAfter)
	}
}

// look looks at every runner. It reports whether something has happened since.
func (m *monitor) look(w *crew) (alive bool) {
	var lost []*polled
	w.mu.Lock()
	for _, r := range w.all {
		now := r.state.Load()
		c := r.cur.Load() // before the runner is taken for lost: when it has noticed, it is another's or nobody's
		switch {
		case now == r.seen && now&1 == 0 || now == stolen:
		case now != r.seen:
			r.seen, alive = now, true
		case r.state.CompareAndSwap(now, stolen):
			alive = true
			lost = append(lost, c)
			if r.shard != nil {
				go r.shard.replace() // ends as the runner did whose place it takes
			}
		}
	}
	w.mu.Unlock()
	for _, c := range lost {
		c.uncork()
	}
	return alive
}

// replace goes on in the place of a runner that was lost.
func (s *shard) replace() { s.run(s.loop.shards.crew.get(s)) }
