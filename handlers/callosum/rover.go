package callosum

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/portluck/portluck/handlers"
)

// rover makes the connections of a pool while Run runs. Only the goroutine of Run uses it.
type rover struct {
	pool    *Pool
	results chan dialled
	dialing int
}

// dialled is the result of a dial.
type dialled struct {
	id, addr string
	conn     *Conn
	err      error
}

// Run keeps the pool filled and balanced until ctx ends. It then closes the pool, waits until all
// that it has begun has ended, and returns the cause. It must be called only once.
func (p *Pool) Run(ctx context.Context) error {
	p.init()
	ctx, cancel := context.WithCancel(ctx)
	r := &rover{pool: p, results: make(chan dialled)}
	defer func() { _ = p.tasks.Wait(context.Background()) }()
	defer p.close()
	defer r.wait()
	defer cancel()
	next := time.NewTimer(jitter(p.probeInterval()))
	defer next.Stop()
	r.probe(ctx)
	for {
		r.fill(ctx)
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case d := <-r.results:
			r.done(d)
		case <-p.wake:
		case <-next.C:
			next.Reset(jitter(p.probeInterval()))
			p.forgive()
			r.probe(ctx)
		}
	}
}

// fill makes connections until the pool is full.
func (r *rover) fill(ctx context.Context) {
	for r.dialing < min(r.pool.missing(), r.pool.maxDials()) && r.dial(ctx) {
	}
}

// probe makes a connection although the pool is full, to see whether it has a lower slot, unless
// ProbeInterval is negative.
func (r *rover) probe(ctx context.Context) {
	if r.pool.isEmpty() {
		r.tell("", ErrNoServers)
		return
	}
	if r.pool.ProbeInterval >= 0 && r.dialing < r.pool.maxDials() && r.pool.missing() == 0 {
		r.dial(ctx)
	}
}

// missing returns how many connections the pool lacks.
func (p *Pool) missing() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.size() - len(p.members)
}

func (p *Pool) isEmpty() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.servers) == 0
}

// dial begins to connect to some server. It returns false if there is none to try.
func (r *rover) dial(ctx context.Context) bool {
	id, addr, ok := r.choose()
	if !ok {
		return false
	}
	r.dialing++
	// The dial ends with the slot line, the dialer's timeout, or ctx.
	r.pool.tasks.Go(func() {
		c, err := r.pool.Dialer.dial(ctx, addr)
		r.results <- dialled{id, addr, c, err}
	})
	return true
}

// choose chooses a server at random from those that have not failed since the last probe.
func (r *rover) choose() (id, addr string, ok bool) {
	p := r.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for i, a := range p.servers {
		if p.failed[i] {
			continue
		}
		if n++; rand.IntN(n) == 0 {
			id, addr = i, a
		}
	}
	return id, addr, n > 0
}

// done handles the result of a dial.
func (r *rover) done(d dialled) {
	r.dialing--
	if d.err == nil {
		r.pool.offer(&member{conn: d.conn, id: d.id, addr: d.addr})
		return
	}
	// OnError gets the errors of a server once between two probes.
	if first := r.pool.suspect(d.id); first && !errors.Is(d.err, ErrRejected) {
		r.tell(d.id, d.err)
	}
}

// suspect excludes a server until the next probe. It returns false if the server was already
// excluded.
func (p *Pool) suspect(id string) (first bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	first = !p.failed[id]
	p.failed[id] = true
	return first
}

// forgive lets all servers be tried again.
func (p *Pool) forgive() {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.failed)
}

// wait waits for the dials that have begun. The caller has cancelled their ctx.
func (r *rover) wait() {
	for ; r.dialing > 0; r.dialing-- {
		if d := <-r.results; d.conn != nil {
			d.conn.Close()
		}
	}
}

// tell calls OnError and recovers its panic.
func (r *rover) tell(id string, err error) {
	if r.pool.OnError != nil {
		handlers.LogPanic(nil, nil, handlers.Guard(func() { r.pool.OnError(id, err) }))
	}
}

// nudge makes Run check whether there is something to do.
func (p *Pool) nudge() {
	select {
	case p.wake <- struct{}{}:
	default: // Run will check anyway
	}
}

// jitter returns about d, so that clients that were started together do not probe together.
func jitter(d time.Duration) time.Duration { return d - d/10 + rand.N(d/5+1) }
