package loop

import (
	"bytes"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// stuckAfter is how long a turn may take before others stop waiting for its runner. It may take up
// to twice as long until the monitor notices.
const stuckAfter = 2 * time.Millisecond

// A spread is the state in which each turn has a goroutine of its own, because callbacks of the
// program have blocked lately.
type spread struct {
	on    atomic.Bool
	until uint64 // the monitor's
}

// spreadFor is how long callbacks must not block until turns are taken by the runners again.
const spreadFor = 250 * time.Millisecond

// monitor looks for runners that are stuck in a callback. It sends what the callback has written
// and makes another runner serve the set. It sleeps while nothing happens.
type monitor struct {
	asleep atomic.Bool
	wake   chan struct{}
	done   chan struct{} // closed with the poller

	threads map[int32]thread // of one look
}

// rouse wakes the monitor if it sleeps.
func (m *monitor) rouse() {
	if m.asleep.Load() && m.asleep.CompareAndSwap(true, false) {
		select {
		case m.wake <- struct{}{}:
		default:
		}
	}
}

// sleepy is the number of uneventful looks after which the monitor sleeps.
const sleepy = 16

// run looks at the runners every stuckAfter while something happens.
func (m *monitor) run(p *poller) {
	defer p.ends.Done()
	t := time.NewTicker(stuckAfter)
	defer t.Stop()
	for still := 0; ; {
		select {
		case <-t.C:
		case <-m.done:
			return
		}
		if still++; m.look(p) {
			still = 0
		}
		if still < sleepy {
			continue
		}
		t.Stop()
		m.asleep.Store(true)
		if !m.look(p) { // a turn that began before asleep was set has not roused
			select {
			case <-m.wake:
			case <-m.done:
				return
			}
		}
		m.asleep.Store(false)
		still = 0
		t.Reset(stuckAfter)
	}
}

// look looks at every runner. It reports whether something has happened since the last look.
func (m *monitor) look(p *poller) (alive bool) {
	clear(m.threads)
	var conns []*epollConn // whose turns have got stuck
	served, starved, fresh := 0, false, false
	p.pool.mu.Lock()
	for _, r := range p.pool.all {
		now := r.state.Load()
		c := r.cur.Load() // before the runner is declared stuck: when it has noticed, it is another's
		switch {
		case now == r.seen && now&1 == 0 || now == stuck:
		case now != r.seen:
			r.seen, r.cpu, alive = now, m.thread(r).cpu, true
		case m.starves(r):
			starved, alive = true, true
		case r.state.CompareAndSwap(now, stuck):
			alive = true
			conns = append(conns, c)
			fresh = fresh || !c.isSlow()
			if r.serves {
				served++
			}
		}
	}
	p.pool.mu.Unlock()
	p.replace(served, starved)
	if fresh {
		p.spread.until = p.now() + uint64(spreadFor/time.Millisecond)
	}
	if on := p.now() < p.spread.until; on != p.spread.on.Load() {
		p.spread.on.Store(on)
	}
	for _, c := range conns {
		c.uncork()
	}
	return alive
}

// replace makes other runners serve the set: in place of the n that got stuck, or beside one that
// is starved of processor time.
func (p *poller) replace(n int, starved bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.runners -= n
	if p.runners == 0 || starved && p.runners < p.most && !p.polling {
		p.joinLocked()
	}
}

// A thread is what the kernel knows of a thread.
type thread struct {
	cpu      time.Duration // its processor time
	runnable bool          // it has, or waits for, a processor
	asked    bool          // runnable is known
}

// starves reports whether r is in the same turn as at the last look only because its thread waits
// for a processor: that says nothing about the callback.
func (m *monitor) starves(r *runner) bool {
	t := m.thread(r)
	if t.cpu-r.cpu > stuckAfter/4 {
		return false
	}
	id := r.thread.Load()
	if !t.asked {
		t.runnable, t.asked = runnable(id), true
		m.threads[id] = t
	}
	return t.runnable
}

// thread returns the thread that r was last seen on.
func (m *monitor) thread(r *runner) thread {
	id := r.thread.Load()
	t, ok := m.threads[id]
	if !ok {
		if m.threads == nil {
			m.threads = map[int32]thread{}
		}
		t.cpu = processorTime(id)
		m.threads[id] = t
	}
	return t
}

// processorTime returns the processor time that the thread has used, or 0 if it has ended.
func processorTime(thread int32) time.Duration {
	// CPUCLOCK_PERTHREAD_MASK and CPUCLOCK_SCHED of linux/posix-timers.h.
	const perThread, scheduled = 4, 2
	var ts unix.Timespec
	if unix.ClockGettime(^thread<<3|perThread|scheduled, &ts) != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}

// runnable reports whether the thread has a processor or waits for one (proc_pid_stat(5)).
func runnable(thread int32) bool {
	stat, err := os.ReadFile("/proc/self/task/" + strconv.Itoa(int(thread)) + "/stat")
	if err != nil {
		return false
	}
	i := bytes.LastIndexByte(stat, ')')
	return i >= 0 && bytes.HasPrefix(stat[i:], []byte(") R"))
}
