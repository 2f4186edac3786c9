package loop

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/portluck/portluck/handlers"
	"golang.org/x/sys/unix"
)

// readSize is how much a runner that serves the set reads at once, and turnSize how much one that
// takes a single turn: there may be thousands, each with a callback that blocks.
const (
	readSize = 128 << 10
	turnSize = 4 << 10
)

// A runner is a goroutine that drives connections, with the buffers that it takes from one to the
// next.
type runner struct {
	serves bool   // it takes from the batch; else it takes a single turn
	in     []byte // what was read; see buffer
	cipher []byte // what was read of TLS; made on demand
	budget int    // what may still be read in this turn
	now    uint64 // when its turn, or the batch of events, began

	// The messages of the Decode that is running.
	m      handlers.Messages
	conn   *epollConn
	failed error // of an event
	told   bool  // an event was raised
	got    bool  // the read of this turn has brought something

	turns uint64

	cur atomic.Pointer[epollConn] // conn, for the monitor
	// state is odd in a turn and even between two; stuck if a turn is taking long.
	state  atomic.Uint64
	thread atomic.Int32 // that it was last seen on

	// These are the monitor's, under the mu of the pool.
	index int
	seen  uint64        // state at the last look
	cpu   time.Duration // of thread at the last look
}

// stuck is the state of a runner whose turn is taking long.
const stuck = ^uint64(0)

func newRunner() *runner {
	r := &runner{}
	r.m.Events = r
	return r
}

// buffer returns in, with room for a read behind the bytes that the caller has. It is made on
// demand: a runner that only ends a connection, as thousands may at once, needs none.
func (r *runner) buffer(have int) []byte {
	if n := have + turnSize; len(r.in) < max(n, r.size()) {
		r.in = make([]byte, max(n, r.size()))
	}
	return r.in
}

func (r *runner) size() int {
	if !r.serves {
		return turnSize
	}
	return readSize
}

// begun notes the thread that the runner is on.
func (r *runner) begun() { r.thread.Store(int32(unix.Gettid())) }

// begin and end enclose a turn. end returns false if the runner got stuck in it.
func (r *runner) begin(c *epollConn) {
	r.conn = c
	r.cur.Store(c)
	r.turns += 2
	r.state.Store(r.turns | 1)
}

func (r *runner) end() bool { return r.state.CompareAndSwap(r.turns|1, r.turns) }

// clean drops what a codec has left, which is not for the runner's next connection.
func (r *runner) clean() { r.m.Reply, r.m.Next, r.m.Hijack = r.m.Reply[:0], nil, nil }

// stuck reports whether the turn is taking long.
func (r *runner) stuck() bool { return r.state.Load() == stuck }

// tick updates now in a turn that is taking long.
func (r *runner) tick() {
	if r.stuck() {
		r.now = r.conn.now()
	}
}

// A runnerPool holds the runners of a loop. It keeps a few idle ones, because their buffers are
// large.
type runnerPool struct {
	mu   sync.Mutex
	all  []*runner
	free []*runner
}

// keepRunners is the number of idle runners that a runnerPool keeps.
const keepRunners = 8

// get returns a runner that serves the set, or one that takes a single turn.
func (w *runnerPool) get(serves bool) *runner {
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
	r.serves = serves
	return r
}

// put takes back a runner that has done.
func (w *runnerPool) put(r *runner) {
	r.conn = nil
	r.cur.Store(nil)
	r.state.Store(0)
	w.mu.Lock()
	defer w.mu.Unlock()
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

// startRunner starts a runner that serves the set. It ends when there is nothing left for it, or
// the poller is closed; wait waits for it.
func (p *poller) startRunner() {
	p.ends.Add()
	go p.run()
}

// run passes events to connections until another runner serves the set alone or the poller is
// closed. A runner that gets stuck in a callback keeps only its own connection, and another
// continues.
func (p *poller) run() {
	defer p.ends.Done()
	r := p.pool.get(true)
	r.now = p.now()
	r.begun()
	for p.serve(r) {
	}
	p.pool.put(r)
}

// serve takes one turn. It returns false if the runner is not needed any more.
func (p *poller) serve(r *runner) bool {
	c, do, ok := p.next(r)
	switch {
	case !ok:
		p.retire()
		return false
	case !c.begin(do):
		return true
	case c.isSlow() || p.spread.on.Load():
		p.ends.Add()
		go c.single() // ends with the turn; wait waits for it
		return true
	}
	r.begin(c)
	p.mon.rouse()
	c.turn(r)
	return r.end()
}

// retire ends a runner that serves the set. The last one closes the set.
func (p *poller) retire() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.runners--; p.closed && p.runners == 0 && !p.freed {
		p.freed = true
		p.set.close()
	}
}

// Bounds of worthHelpLocked.
const (
	helpTurn = 50 * time.Microsecond // turns as long as this are worth a helper each
	helpLeft = time.Millisecond      // so is what is left of the batch
)

// shareLocked starts another runner to help with the batch if the rest of it would wait for long.
func (p *poller) shareLocked() {
	if p.leftLocked() > 0 && p.runners < p.most && p.worthHelpLocked(p.clock()-p.began) {
		p.joinLocked()
	}
}

// worthHelpLocked reports whether the turns of the batch, which have taken that long so far, are
// worth another runner.
func (p *poller) worthHelpLocked(so time.Duration) bool {
	turn := so / time.Duration(max(p.at, 1))
	return turn >= helpTurn || turn*time.Duration(p.leftLocked()) >= helpLeft
}

// joinLocked starts a runner.
func (p *poller) joinLocked() {
	p.runners++
	p.startRunner()
}
