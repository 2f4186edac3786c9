package callosum

import (
	"net"
	"os"
	"sync"
	"syscall"
)

// watcher reports when the peers of connections have sent FIN or a reset, even if bytes before it
// are still unread. All connections share one epoll set and one goroutine, which exist only while
// there are connections. Its zero value is ready to use.
type watcher struct {
	mu   sync.Mutex
	set  *epollSet // nil if there are no connections
	next uint64
}

// epollSet is the epoll set of a watcher while it has connections.
type epollSet struct {
	file    *os.File // the set, which the runtime polls
	fd      int
	watched map[uint64]func()
	ended   chan struct{} // closed when run has returned
}

// Bits of epoll_event. EPOLLONESHOT reports the end of a peer once. EPOLLERR and EPOLLHUP are
// always reported.
const (
	peerEnds    = 0x2000  // EPOLLRDHUP
	onlyOnce    = 1 << 30 // EPOLLONESHOT
	eventsAtOne = 64      // events that one call returns at most
)

// add watches nc. It returns nil if it cannot, for example because nc is not a socket.
func (w *watcher) add(nc net.Conn, ended func()) (forget func()) {
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.set == nil {
		if w.set, err = newEpollSet(); err != nil {
			return nil
		}
		go w.run(w.set) // run ends when the last connection is forgotten
	}
	set, id := w.set, w.next
	w.next++
	set.watched[id] = ended
	ctlErr := err
	err = raw.Control(func(fd uintptr) {
		ev := syscall.EpollEvent{Events: peerEnds | onlyOnce, Fd: int32(uint32(id)), Pad: int32(uint32(id >> 32))}
		ctlErr = syscall.EpollCtl(set.fd, syscall.EPOLL_CTL_ADD, int(fd), &ev)
	})
	if err != nil || ctlErr != nil {
		w.forgetLocked(set, id)
		return nil
	}
	return func() { w.forget(set, id) }
}

// forget stops watching a connection. With the last one it waits until run has ended, which is
// soon.
func (w *watcher) forget(set *epollSet, id uint64) {
	w.mu.Lock()
	last := w.forgetLocked(set, id)
	w.mu.Unlock()
	if last {
		<-set.ended
	}
}

// forgetLocked stops watching a connection. If it is the last one, forgetLocked closes the set and
// returns true. The kernel has removed the connection from the set when it was closed.
func (w *watcher) forgetLocked(set *epollSet, id uint64) (last bool) {
	delete(set.watched, id)
	if last = len(set.watched) == 0 && w.set == set; last {
		set.file.Close()
		w.set = nil
	}
	return last
}

func newEpollSet() (*epollSet, error) {
	fd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if err := syscall.SetNonblock(fd, true); err != nil {
		syscall.Close(fd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	return &epollSet{file: os.NewFile(uintptr(fd), "epoll"), fd: fd, watched: map[uint64]func(){}, ended: make(chan struct{})}, nil
}

// run reports ends until the set is closed.
func (w *watcher) run(set *epollSet) {
	defer close(set.ended)
	raw, err := set.file.SyscallConn()
	if err != nil {
		return
	}
	events := make([]syscall.EpollEvent, eventsAtOne)
	for {
		n := 0
		err := raw.Read(func(uintptr) bool { // raw.Read calls it before it waits, too
			n, err = syscall.EpollWait(set.fd, events, 0)
			for err == syscall.EINTR {
				n, err = syscall.EpollWait(set.fd, events, 0)
			}
			return n != 0
		})
		if err != nil || n < 0 {
			return
		}
		for _, ev := range events[:n] {
			w.tell(set, uint64(uint32(ev.Fd))|uint64(uint32(ev.Pad))<<32)
		}
	}
}

// tell calls ended for a connection. It holds the lock meanwhile, so that forget waits for it.
func (w *watcher) tell(set *epollSet, id uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if ended := set.watched[id]; ended != nil {
		set.watched[id] = nil // the entry stays until forget, and keeps the set open
		ended()
	}
}
