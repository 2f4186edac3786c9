package callosum

import (
	"net"
	"os"
	"sync"
	"syscall"
)

// watcher tells when the peers of connections have sent FIN or a reset, whatever is still unread:
// all of them are in one epoll set, with one goroutine. There are neither while there is no
// connection. Its zero value is ready.
type watcher struct {
	mu   sync.Mutex
	set  *epollSet // nil if there are no connections
	next uint64
}

// epollSet is what a watcher has while it has connections.
type epollSet struct {
	file    *os.File // watched by the runtime
	fd      int
	watched map[uint64]func()
	ended   chan struct{} // closed when run has returned
}

// EPOLLONESHOT reports the end of a peer once. EPOLLERR and EPOLLHUP need no flag.
const (
	peerEnds    = 0x2000  // EPOLLRDHUP
	onlyOnce    = 1 << 30 // EPOLLONESHOT
	eventsAtOne = 64      // taken at a time
)

// add is nil if nc is no socket.
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
		go w.run(w.set) // ends when the last connection is forgotten, which waits for it
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

// forget forgets a connection. With the last one it waits for run, which does not hold it up.
func (w *watcher) forget(set *epollSet, id uint64) {
	w.mu.Lock()
	last := w.forgetLocked(set, id)
	w.mu.Unlock()
	if last {
		<-set.ended
	}
}

// forgetLocked forgets a connection: closing it has taken it out of the set in the kernel. It
// reports whether run ends for that.
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

// run tells of ends until the set is closed.
func (w *watcher) run(set *epollSet) {
	defer close(set.ended)
	raw, err := set.file.SyscallConn()
	if err != nil {
		return
	}
	events := make([]syscall.EpollEvent, eventsAtOne)
	for {
		n := 0
		err := raw.Read(func(uintptr) bool { // tries before it waits
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

// tell tells that a peer has ended. It holds the lock meanwhile, so that forget is not too late.
func (w *watcher) tell(set *epollSet, id uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if ended := set.watched[id]; ended != nil {
		set.watched[id] = nil // it keeps its place, and the set, until it is forgotten
		ended()
	}
}
