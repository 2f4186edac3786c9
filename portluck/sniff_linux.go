package portluck

import (
	"errors"
	"os"
	"sync"
	"time"

	"github.com/portluck/portluck/matchers"
	"golang.org/x/sys/unix"
)

// sniffer holds the connections whose protocol is not known yet: bare descriptors in one epoll
// set, in the order of their deadlines. One goroutine serves all of them; no connection has a
// buffer or a timer of its own. Their bytes stay in the kernel and are read with MSG_PEEK.
type sniffer struct {
	port     *port
	deferred bool     // the kernel holds silent connections back for deferTime
	file     *os.File // the epoll set, itself watched by the runtime
	epfd     int
	done     chan struct{}
	buf      []byte // owned by the goroutine

	mu       sync.Mutex
	cond     sync.Cond // signals that a place is no longer busy
	slots    []*conn   // by place.slot; events carry slot and generation, as descriptors are reused
	free     []int32
	lists    [stages]fifo // by stage
	wake     time.Time    // when the goroutine next checks deadlines; zero if there are none
	shedding bool         // shed is running
	closing  bool
}

const sniffEvents = unix.EPOLLIN | unix.EPOLLRDHUP | unix.EPOLLET&0xffffffff

func (s *sniffer) start(p *port) error {
	epfd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("epoll_create1", err)
	}
	if err := unix.SetNonblock(epfd, true); err != nil {
		unix.Close(epfd)
		return os.NewSyscallError("fcntl", err)
	}
	s.deferred = p.defers()
	s.port, s.epfd, s.file = p, epfd, os.NewFile(uintptr(epfd), "epoll")
	s.cond.L = &s.mu
	s.buf, s.done = make([]byte, matchers.Window), make(chan struct{})
	go s.run() // ends when stop closes the file
	return nil
}

// stop ends the goroutine. The set must be empty.
func (s *sniffer) stop() {
	s.file.Close()
	<-s.done
}

// add puts c into the set. It returns false if the sniffer is closing or c cannot be watched; the
// caller then keeps c.
func (s *sniffer) add(c *conn) bool {
	fd, err := c.fd()
	if err != nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return false
	}
	pl := &c.place
	if n := len(s.free); n > 0 {
		pl.slot = s.free[n-1]
		s.free = s.free[:n-1]
	} else {
		pl.slot = int32(len(s.slots))
		s.slots = append(s.slots, nil)
	}
	s.slots[pl.slot] = c
	pl.hup = false
	s.pushLocked(c)
	ev := unix.EpollEvent{Events: sniffEvents, Fd: pl.slot, Pad: int32(pl.generation)}
	if err := unix.EpollCtl(s.epfd, unix.EPOLL_CTL_ADD, fd, &ev); err != nil {
		s.forgetLocked(c)
		return false
	}
	s.armLocked()
	if n, _ := s.undecidedLocked(); n > s.port.srv.maxSniffing() && !s.shedding {
		s.shedding = true
		s.port.work.Go(s.shed) // ends at once; the accepting goroutine must not wait
	}
	return true
}

// pushLocked starts the bound of the stage of c.
func (s *sniffer) pushLocked(c *conn) {
	st := c.stage()
	s.lists[st].push(c, time.Now().Add(s.patience(st)))
}

// deferTime is how long the kernel holds a silent connection back (TCP_DEFER_ACCEPT). It is a part
// of SniffTimeout.
const deferTime = time.Second

// defers reports whether the kernel may hold silent connections back: nothing must happen to them
// earlier than that.
func (p *port) defers() bool {
	long := func(t time.Duration) bool { return t < 0 || t >= 2*deferTime }
	return p.srv.OnSilence == nil && p.srv.sniffTimeout() >= 2*deferTime && (len(p.srv.ProxyFrom) == 0 || long(p.srv.proxyTimeout()))
}

// patience returns how long a connection may stay in a stage, less the time that it has waited in
// the kernel. For no bound it returns 100 years.
func (s *sniffer) patience(st stage) time.Duration {
	t := s.port.patience(st)
	if s.deferred && (st == stageFirst || st == stageProxy) {
		t -= deferTime
	}
	if t <= 0 {
		return 100 * 365 * 24 * time.Hour
	}
	return t
}

// undecided identifies a connection in the set. Once another goroutine has taken the connection
// out, its place must not be read.
type undecided struct {
	*conn
	slot       int32
	generation uint32
}

// undecided returns the identity of c, which must be in the set. The caller holds mu.
func (c *conn) undecided() undecided { return undecided{c, c.place.slot, c.place.generation} }

func (s *sniffer) isInLocked(w undecided) bool {
	return s.slots[w.slot] == w.conn && w.place.generation == w.generation
}

// take takes w out of the set. It returns false if another goroutine already has.
func (s *sniffer) take(w undecided) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.isInLocked(w) && w.place.busy {
		s.cond.Wait()
	}
	return s.isInLocked(w) && s.takeLocked(w.conn)
}

func (s *sniffer) takeLocked(c *conn) bool {
	if c.place.fifo == nil {
		return false
	}
	if fd, err := c.fd(); err == nil {
		_ = unix.EpollCtl(s.epfd, unix.EPOLL_CTL_DEL, fd, nil)
	}
	s.forgetLocked(c)
	return true
}

func (s *sniffer) forgetLocked(c *conn) {
	c.place.fifo.remove(c)
	s.slots[c.place.slot] = nil
	c.place.generation++
	s.free = append(s.free, c.place.slot)
}

// undecidedLocked returns how many connections count for MaxSniffing, and the one that has been in
// its stage for longest.
func (s *sniffer) undecidedLocked() (n int, oldest *conn) {
	var since time.Time
	for st := range stageLate {
		f := &s.lists[st]
		n += f.n
		if f.head == nil {
			continue
		}
		if t := f.head.place.deadline.Add(-s.patience(st)); oldest == nil || t.Before(since) {
			oldest, since = f.head, t
		}
	}
	return n, oldest
}

// shed drops the connections that have been in their stage for longest, as long as there are more
// than MaxSniffing.
func (s *sniffer) shed() {
	for {
		s.mu.Lock()
		n, oldest := s.undecidedLocked()
		if n <= s.port.srv.maxSniffing() {
			s.shedding = false
			s.mu.Unlock()
			return
		}
		w := oldest.undecided()
		s.mu.Unlock()
		if s.take(w) {
			s.port.stats.shed.Add(1)
			s.port.drop(w.conn, ErrShed)
		}
	}
}

// armLocked makes the goroutine wake up at the first deadline.
func (s *sniffer) armLocked() {
	for i := range s.lists {
		f := &s.lists[i]
		if f.head != nil && (s.wake.IsZero() || f.head.place.deadline.Before(s.wake)) {
			s.wake = f.head.place.deadline
			_ = s.file.SetReadDeadline(s.wake)
		}
	}
}

// run waits for bytes and for deadlines.
func (s *sniffer) run() {
	defer close(s.done)
	raw, err := s.file.SyscallConn()
	if err != nil {
		return
	}
	events := make([]unix.EpollEvent, 256)
	for {
		n := 0
		// polls before it waits: an earlier edge is not reported again
		err := raw.Read(func(uintptr) bool {
			n, err = unix.EpollWait(s.epfd, events, 0)
			for err == unix.EINTR {
				n, err = unix.EpollWait(s.epfd, events, 0)
			}
			return n != 0
		})
		switch {
		case err == nil:
		case errors.Is(err, os.ErrDeadlineExceeded):
			s.expire(time.Now())
		default:
			return
		}
		for _, ev := range events[:max(n, 0)] {
			s.ready(ev)
		}
	}
}

// ready looks at a connection that has an epoll event, and takes it out once it is decided.
func (s *sniffer) ready(ev unix.EpollEvent) {
	s.mu.Lock()
	c := s.slots[ev.Fd]
	if c == nil || c.place.generation != uint32(ev.Pad) {
		s.mu.Unlock()
		return
	}
	c.place.busy = true
	s.mu.Unlock()
	if ev.Events&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		c.place.hup = true
	}
	r, first, err := s.port.peekAt(c, s.buf, c.place.hup)
	s.mu.Lock()
	c.place.busy = false
	s.cond.Broadcast()
	c.seen = len(first)
	decided := r != nil || err != nil
	if decided { // else another goroutine may take c out once mu is free
		s.takeLocked(c)
	} else if f := c.place.fifo; f != &s.lists[c.stage()] {
		f.remove(c)
		s.pushLocked(c)
		s.armLocked()
	}
	s.mu.Unlock()
	if decided {
		s.port.settle(c, r, first, err)
	}
}

// expire handles the connections whose deadline has passed.
func (s *sniffer) expire(now time.Time) {
	s.mu.Lock()
	s.wake = time.Time{}
	var late []undecided
	for i := range s.lists {
		for c := s.lists[i].head; c != nil && !c.place.deadline.After(now); c = c.place.next {
			late = append(late, c.undecided())
		}
	}
	s.mu.Unlock()
	for _, w := range late {
		if s.take(w) {
			s.port.late(w.conn, s.buf)
		}
	}
	s.mu.Lock()
	if s.armLocked(); s.wake.IsZero() {
		_ = s.file.SetReadDeadline(time.Time{})
	}
	s.mu.Unlock()
}

// drain takes out all connections. With closing, add fails from then on.
func (s *sniffer) drain(closing bool) []*conn {
	s.mu.Lock()
	s.closing = s.closing || closing
	var all []undecided
	for i := range s.lists {
		for c := s.lists[i].head; c != nil; c = c.place.next {
			all = append(all, c.undecided())
		}
	}
	s.mu.Unlock()
	var mine []*conn
	for _, w := range all {
		if s.take(w) {
			mine = append(mine, w.conn)
		}
	}
	return mine
}

// decide looks once more at every connection and serves those that the bytes received by now
// decide, even if their events are late. It closes the connections that stay undecided. Those
// whose route is chosen stay in the set, unless closing.
func (s *sniffer) decide(closing bool) {
	all := s.drain(closing)
	if len(all) == 0 {
		return
	}
	buf := make([]byte, matchers.Window)
	for _, c := range all {
		s.port.lastLook(c, buf)
	}
}

// len returns the number of connections in the set.
func (s *sniffer) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for i := range s.lists {
		n += s.lists[i].n
	}
	return n
}
