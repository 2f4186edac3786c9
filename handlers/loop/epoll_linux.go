package loop

import (
	"errors"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// shards are the epoll sets of a loop: one for each processor, each with its share of the connections.
type shards struct {
	once  sync.Once
	err   error // of once
	base  time.Time
	ahead atomic.Int64 // how far now is ahead of the clock; for tests
	all   []*shard
	next  atomic.Uint32
	mon   monitor
	crew  crew
}

// start makes the shards at the first connection.
func (ss *shards) start(l *Loop) error {
	ss.once.Do(func() {
		ss.base = time.Now()
		for range runtime.GOMAXPROCS(0) {
			s, err := newShard(l)
			if err != nil {
				ss.fail(err)
				return
			}
			ss.all = append(ss.all, s)
		}
		ss.mon.wake = make(chan struct{}, 1)
		ss.mon.done = make(chan struct{})
		go ss.mon.run(&ss.crew) // ends when the loop is closing and empty
		for _, s := range ss.all {
			go s.replace() // ends when the loop is closing and empty
		}
	})
	return ss.err
}

// fail gives up the shards: there are not enough descriptors.
func (ss *shards) fail(err error) {
	for _, s := range ss.all {
		s.file.Close()
	}
	ss.all, ss.err = nil, err
}

// pick is the shard of a new connection.
func (ss *shards) pick() *shard { return ss.all[int(ss.next.Add(1))%len(ss.all)] }

// now is the time in milliseconds since the loop began.
func (ss *shards) now() uint64 {
	return uint64((time.Since(ss.base) + time.Duration(ss.ahead.Load())) / time.Millisecond)
}

// clockAt is when now will be t.
func (ss *shards) clockAt(t uint64) time.Time {
	return ss.base.Add(time.Duration(t)*time.Millisecond - time.Duration(ss.ahead.Load()))
}

// refuse is part of [Loop.refuse].
func (ss *shards) refuse(all []ender) []ender {
	ss.once.Do(func() { ss.err = os.ErrClosed })
	for _, s := range ss.all {
		s.mu.Lock()
		s.closing = true
		for _, e := range s.slots {
			if e.conn != nil {
				all = append(all, e.conn)
			}
		}
		s.closeIfEmptyLocked()
		s.mu.Unlock()
	}
	return all
}

// shard is one epoll set. One runner at a time has it: waits for its events and gives each to its connection.
type shard struct {
	loop *Loop
	epfd int
	file *os.File // the set, itself watched by the runtime
	raw  syscall.RawConn
	wake uint64 // when the runner looks for deadlines; 0 if there are none

	mu      sync.Mutex
	slots   []slot
	free    []int32
	events  []unix.EpollEvent // those told last
	at, n   int               // events[at:n] are not yet given to their connections
	late    []*polled         // their deadline may have passed
	wheel   wheel
	used    int
	closing bool
	closed  bool
}

// slot is a connection's place in its shard. Descriptors are reused, so what epoll tells is slot and generation.
type slot struct {
	conn       *polled
	generation uint32
}

const pollEvents = unix.EPOLLIN | unix.EPOLLPRI | unix.EPOLLRDHUP | unix.EPOLLET&0xffffffff

func newShard(l *Loop) (*shard, error) {
	epfd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if err := unix.SetNonblock(epfd, true); err != nil {
		unix.Close(epfd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	s := &shard{loop: l, epfd: epfd, file: os.NewFile(uintptr(epfd), "epoll"), events: make([]unix.EpollEvent, 256)}
	if s.raw, err = s.file.SyscallConn(); err != nil {
		s.file.Close()
		return nil, err
	}
	s.wheel.tick = tickOf(l)
	return s, nil
}

// admit gives c a slot. It is false when the loop is closing.
func (s *shard) admit(c *polled) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return false
	}
	if n := len(s.free); n > 0 {
		c.slot = s.free[n-1]
		s.free = s.free[:n-1]
	} else {
		c.slot = int32(len(s.slots))
		s.slots = append(s.slots, slot{})
	}
	s.slots[c.slot].conn = c
	s.used++
	s.loop.admitted()
	return true
}

// dismiss frees the slot of c, so that no event finds it any more.
func (s *shard) dismiss(c *polled) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wheel.remove(c)
	e := &s.slots[c.slot]
	e.conn = nil
	e.generation++
	s.free = append(s.free, c.slot)
}

// left is the end of a connection that was dismissed.
func (s *shard) left() {
	s.mu.Lock()
	s.used--
	s.closeIfEmptyLocked()
	s.mu.Unlock()
	s.loop.left()
}

// closeIfEmptyLocked ends the shard's goroutine once nothing can come any more.
func (s *shard) closeIfEmptyLocked() {
	if s.closing && s.used == 0 && !s.closed {
		s.closed = true
		s.file.Close()
		s.loop.shards.mon.leave(len(s.loop.shards.all))
	}
}

// watch has epoll tell of what comes for c, also of what has come before.
func (s *shard) watch(c *polled, op int, events uint32) error {
	s.mu.Lock()
	generation := s.slots[c.slot].generation
	s.mu.Unlock()
	ev := unix.EpollEvent{Events: events, Fd: c.slot, Pad: int32(generation)}
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(s.epfd, op, int(c.fd), &ev))
}

// schedule has the runner look at the deadline of c at the time t.
func (s *shard) schedule(c *polled, t uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.slots[c.slot].conn != c {
		return
	}
	s.wheel.put(c, t, s.loop.shards.now())
	s.armLocked()
}

// hasten has the runner look at c by t, if it would not anyway.
func (s *shard) hasten(c *polled, t uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.slots[c.slot].conn == c && !s.wheel.looksBy(c, t) {
		s.wheel.put(c, t, s.loop.shards.now())
		s.armLocked()
	}
}

// armLocked has the runner wake up when the first deadline comes.
func (s *shard) armLocked() {
	t, ok := s.wheel.first()
	if !ok || s.closed || s.wake != 0 && s.wake <= t {
		return
	}
	s.wake = max(t, 1)
	_ = s.file.SetReadDeadline(s.loop.shards.clockAt(t))
}

// run gives events to connections, until the shard is closed or lost: a callback that takes its time keeps only its own
// connection, and another runner goes on.
func (s *shard) run(r *runner) {
	r.now = s.loop.shards.now()
	for {
		c, do, ok := s.take(r)
		if !ok {
			break
		}
		if !c.begin(do) {
			continue
		}
		if c.slow {
			go c.goOn() // ends with the turn
			continue
		}
		r.begin(c)
		s.loop.shards.mon.rouse()
		c.turn(r)
		if !r.end() {
			break
		}
	}
	s.loop.shards.crew.put(r)
}

// take waits for something to do.
func (s *shard) take(r *runner) (c *polled, do todo, ok bool) {
	for {
		s.mu.Lock()
		if n := len(s.late); n > 0 {
			c, s.late[n-1] = s.late[n-1], nil
			s.late = s.late[:n-1]
			s.mu.Unlock()
			return c, doTimer, true
		}
		for s.at < s.n {
			ev := &s.events[s.at]
			s.at++
			if e := &s.slots[ev.Fd]; e.conn != nil && e.generation == uint32(ev.Pad) {
				c, do = e.conn, todoOf(ev.Events)
				s.mu.Unlock()
				return c, do, true
			}
		}
		s.mu.Unlock()
		if !s.wait() {
			return nil, 0, false
		}
		r.now = s.loop.shards.now()
	}
}

// wait waits for events or for a deadline. It is false when the shard is closed.
func (s *shard) wait() bool {
	n := 0
	err := s.raw.Read(func(uintptr) bool { // tries before it waits: an edge that came earlier is not told again
		for {
			var err error
			n, err = unix.EpollWait(s.epfd, s.events, 0)
			if err != unix.EINTR {
				return n != 0
			}
		}
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case err == nil:
		s.at, s.n = 0, max(n, 0)
		return true
	case errors.Is(err, os.ErrDeadlineExceeded):
		s.late = s.wheel.advance(s.loop.shards.now(), s.late)
		s.wake = 0
		_ = s.file.SetReadDeadline(time.Time{})
		s.armLocked()
		return true
	}
	return false
}

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
