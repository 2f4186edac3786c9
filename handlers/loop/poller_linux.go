package loop

import (
	"cmp"
	"context"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// A poller is the epoll set of a loop, with the connections in it and the runners that serve it.
//
// One runner at a time waits for events. It puts them into the batch, from which it and those that
// help it take one at a time, so that no connection waits for a particular runner.
type poller struct {
	loop   *Loop
	once   sync.Once
	err    error // of once
	base   time.Time
	ahead  atomic.Int64 // how far now is ahead of the clock; for tests
	set    *epollSet
	mon    monitor
	pool   runnerPool
	spread spread
	most   int   // runners that serve the set at once
	ends   Tasks // the runners, the monitor and the goroutines of single turns

	mu      sync.Mutex
	slots   slotTable
	events  []unix.EpollEvent // the batch
	at, n   int               // events[at:n] are not yet given to their connections
	began   time.Duration     // when the batch began, since base
	late    []*epollConn      // their deadline may have passed
	waiters []*Waiter
	yields  bool // a Waiter is ready: let it run before the next wait
	wheel   wheel
	wake    uint64 // no deadline is before; 0 if there are none
	polling bool   // a runner waits in the kernel, or is about to
	until   uint64 // when that wait ends by itself; 0 for never
	runners int    // that serve the set, but for those that are stuck in a callback
	used    int
	closing bool
	closed  bool
	freed   bool // the set is closed too
}

// batchSize is how many events are taken from the kernel at once.
const batchSize = 256

const pollEvents = unix.EPOLLIN | unix.EPOLLPRI | unix.EPOLLRDHUP | unix.EPOLLET&0xffffffff

// start makes the set at the first connection.
func (p *poller) start(l *Loop) error {
	p.once.Do(func() {
		p.loop, p.base, p.most = l, time.Now(), cmp.Or(l.processors, runtime.GOMAXPROCS(0))
		if p.set, p.err = newEpollSet(p.most == 1); p.err != nil {
			return
		}
		p.events = make([]unix.EpollEvent, batchSize)
		p.wheel.tick, p.wheel.slots = tickOf(l), &p.slots
		p.mon.wake = make(chan struct{}, 1)
		p.mon.done = make(chan struct{})
		p.joinLocked() // nobody else knows p yet
		p.ends.Add()
		go p.mon.run(p) // ends when the loop is closing and empty; p.wait waits for it
	})
	return p.err
}

// now returns the time in milliseconds since the loop began.
func (p *poller) now() uint64 { return uint64(p.clock() / time.Millisecond) }

func (p *poller) clock() time.Duration { return time.Since(p.base) + time.Duration(p.ahead.Load()) }

// timeOf returns when now will be t, or the zero time for 0.
func (p *poller) timeOf(t uint64) time.Time {
	if t == 0 {
		return time.Time{}
	}
	return p.base.Add(time.Duration(t)*time.Millisecond - time.Duration(p.ahead.Load()))
}

// refuse is part of [Loop.refuse].
func (p *poller) refuse() {
	p.once.Do(func() { p.err = os.ErrClosed })
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closing = true
	p.closeIfEmptyLocked()
}

// all returns the connections in the set, behind others.
func (p *poller) all(others []ender) []ender {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.slots.all() {
		others = append(others, c)
	}
	return others
}

// admit gives c a slot. It returns false if the loop is closing.
func (p *poller) admit(c *epollConn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closing {
		return false
	}
	p.slots.add(c)
	p.used++
	p.loop.admitted()
	return true
}

// dismiss frees the slot of c, so that no event finds it any more.
func (p *poller) dismiss(c *epollConn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wheel.remove(c)
	p.slots.remove(c)
}

// left accounts for the end of a connection that was dismissed.
func (p *poller) left() {
	p.mu.Lock()
	p.used--
	p.closeIfEmptyLocked()
	p.mu.Unlock()
	p.loop.left()
}

// closeIfEmptyLocked ends the runners and the monitor once nothing can come any more.
func (p *poller) closeIfEmptyLocked() {
	if p.closing && p.used == 0 && !p.closed && p.set != nil {
		p.closed = true
		if p.polling {
			p.set.wake()
		}
		close(p.mon.done)
	}
}

// wait waits for the goroutines of p if it is closed. If ctx ends first, it returns the error of
// ctx. Otherwise they go on serving, and wait returns at once.
func (p *poller) wait(ctx context.Context) error {
	p.mu.Lock()
	closed := p.closed
	p.mu.Unlock()
	if !closed {
		return nil
	}
	return p.ends.Wait(ctx)
}

// watch makes epoll report events of c, including those that are already there.
func (p *poller) watch(c *epollConn, op int, events uint32) error {
	p.mu.Lock()
	generation := p.slots.at(c.slot).generation
	p.mu.Unlock()
	ev := unix.EpollEvent{Events: events, Fd: c.slot, Pad: int32(generation)}
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(p.set.fd, op, int(c.fd), &ev))
}

// schedule makes a runner check the deadline of c at the time t.
func (p *poller) schedule(c *epollConn, t uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.slots.has(c) {
		p.putLocked(c, t)
	}
}

// hasten makes a runner check c by t, if none would anyway.
func (p *poller) hasten(c *epollConn, t uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.slots.has(c) && !p.wheel.looksBy(c, t) {
		p.putLocked(c, t)
	}
}

// putLocked puts c into the wheel, and ends a wait in the kernel that would last beyond t.
func (p *poller) putLocked(c *epollConn, t uint64) {
	t = p.wheel.put(c, t, p.now())
	if p.wake == 0 || t < p.wake {
		p.wake = t
	}
	if p.polling && (p.until == 0 || t < p.until) {
		p.until = t
		p.set.wake()
	}
}

// next returns a connection and what there is to be done for it. It waits for that unless another
// runner does, or the poller is closed, when it returns false.
func (p *poller) next(r *runner) (c *epollConn, do todo, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		p.shareLocked()
		if c, do, ok = p.popLocked(); ok {
			return c, do, true
		}
		if p.closed || p.polling {
			return nil, 0, false
		}
		p.pollLocked(r)
	}
}

// popLocked takes from the batch.
func (p *poller) popLocked() (c *epollConn, do todo, ok bool) {
	if n := len(p.late); n > 0 {
		c, p.late[n-1] = p.late[n-1], nil
		p.late = p.late[:n-1]
		return c, doTimer, true
	}
	for p.at < p.n {
		ev := &p.events[p.at]
		p.at++
		if ev.Fd <= waiterSlot {
			p.tellLocked(int(waiterSlot - ev.Fd))
			continue
		}
		if e := p.slots.at(ev.Fd); e.conn != nil && e.generation == uint32(ev.Pad) {
			return e.conn, todoOf(ev.Events), true
		}
	}
	return nil, 0, false
}

// tellLocked notifies a Waiter of an event.
func (p *poller) tellLocked(i int) {
	if w := p.waiters[i]; w != nil {
		w.tell()
		p.yields = true
	}
}

// pollLocked waits for events or for a deadline, with mu unlocked.
func (p *poller) pollLocked(r *runner) {
	p.polling, p.until = true, p.wake
	p.set.arm(p.timeOf(p.wake))
	yields := p.yields
	p.yields = false
	p.mu.Unlock()
	if yields {
		runtime.Gosched()
	}
	n := p.set.wait(p.events)
	r.begun()
	clock := p.clock()
	p.mu.Lock()
	p.polling = false
	p.at, p.n, p.began = 0, n, clock
	r.now = uint64(clock / time.Millisecond)
	if p.wake != 0 && p.wake <= r.now {
		p.late = p.wheel.advance(r.now, p.late)
		p.wake, _ = p.wheel.first()
	}
}

// leftLocked returns how many events wait for a runner.
func (p *poller) leftLocked() int { return p.n - p.at + len(p.late) }

// todoOf returns what the events of epoll ask for.
func todoOf(events uint32) todo {
	var do todo
	if events&(unix.EPOLLIN|unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		do |= doRead
	}
	if events&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		do |= doHangup
	}
	if events&unix.EPOLLPRI != 0 {
		do |= doRead | doMark
	}
	if events&(unix.EPOLLOUT|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		do |= doWrite
	}
	return do
}
