package loop

import (
	"math"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// An epollSet is an epoll set and the way to wait for it.
//
// Where Go has processors to spare, the wait is a blocking system call. It costs less than a wait
// in Go's poller, and its end does not wait for Go's scheduler. An eventfd ends it early. With one
// processor Go's poller watches the set: a blocking system call would keep the processor from the
// other goroutines until the runtime takes it away.
type epollSet struct {
	fd     int
	event  int             // the eventfd
	file   *os.File        // the set, watched by Go's poller; nil if the wait blocks
	nested syscall.RawConn // of file

	// The poller's mu protects these.
	until time.Time // when the wait ends
	woken bool      // the deadline of file differs from until
}

// eventSlot is the slot in the epoll events of the eventfd.
const eventSlot = -1

func newEpollSet(nested bool) (*epollSet, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	s := &epollSet{fd: fd, event: -1}
	if nested {
		err = s.nest()
	} else {
		err = s.addEvent()
	}
	if err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *epollSet) nest() (err error) {
	if err := unix.SetNonblock(s.fd, true); err != nil {
		return os.NewSyscallError("fcntl", err)
	}
	s.file = os.NewFile(uintptr(s.fd), "epoll")
	s.nested, err = s.file.SyscallConn()
	return err
}

func (s *epollSet) addEvent() (err error) {
	if s.event, err = unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC); err != nil {
		return os.NewSyscallError("eventfd", err)
	}
	ev := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET&0xffffffff, Fd: eventSlot}
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(s.fd, unix.EPOLL_CTL_ADD, s.event, &ev))
}

// arm makes the next wait end at until, or only for events and wake if until is zero. The caller of
// arm and wake holds the poller's mu.
func (s *epollSet) arm(until time.Time) {
	if s.file == nil {
		s.until = until
	} else if s.woken || !until.Equal(s.until) {
		s.until, s.woken = until, false
		_ = s.file.SetReadDeadline(until)
	}
}

// wait waits for events and returns their number, which is zero if the wait ended without any.
func (s *epollSet) wait(events []unix.EpollEvent) int {
	if s.file != nil {
		return s.waitNested(events)
	}
	n, _ := unix.EpollWait(s.fd, events, s.timeout()) // EINTR is as good as a timeout
	for i := range max(n, 0) {
		if events[i].Fd == eventSlot { // edge-triggered: no read is needed
			n--
			events[i] = events[n]
			break
		}
	}
	return max(n, 0)
}

// timeout returns the milliseconds until s.until, rounded up, or -1 if that is zero.
func (s *epollSet) timeout() int {
	if s.until.IsZero() {
		return -1
	}
	ms := (time.Until(s.until) + time.Millisecond - 1) / time.Millisecond
	return int(min(max(ms, 0), math.MaxInt32))
}

// waitNested is wait in Go's poller. It polls before it waits, because Go's poller reports an edge
// once.
func (s *epollSet) waitNested(events []unix.EpollEvent) (n int) {
	_ = s.nested.Read(func(uintptr) bool {
		n, _ = unix.EpollWait(s.fd, events, 0)
		return n != 0
	})
	return max(n, 0)
}

// wake ends a wait early, or the next one if there is none.
func (s *epollSet) wake() {
	if s.file != nil {
		s.woken = true
		_ = s.file.SetReadDeadline(time.Unix(1, 0))
		return
	}
	_, _ = unix.Write(s.event, []byte{1, 0, 0, 0, 0, 0, 0, 0})
}

func (s *epollSet) close() {
	if s.file != nil {
		s.file.Close()
		return
	}
	if s.event >= 0 {
		unix.Close(s.event)
	}
	unix.Close(s.fd)
}
