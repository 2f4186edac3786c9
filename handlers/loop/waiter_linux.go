package loop

import (
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// A Waiter waits, with the connections of a loop, until something can be accepted from a listening
// socket. One goroutine at a time may call Wait, any goroutine the other methods.
type Waiter struct {
	poller *poller
	index  int
	fd     int

	mu      sync.Mutex
	cond    sync.Cond
	ready   bool // epoll has reported an event since the last Wait
	stopped bool
}

// waiterSlot is the slot in the epoll events of the first Waiter. Other Waiters have lower ones.
const waiterSlot = eventSlot - 1

// NewWaiter returns a Waiter for a listening socket that does not block. It must be closed before
// the socket is. The Loop must be shut down or closed, even if it has had no connection.
func (l *Loop) NewWaiter(fd int) (*Waiter, error) {
	p := &l.poller
	if err := p.start(l); err != nil {
		return nil, err
	}
	w := &Waiter{poller: p, fd: fd}
	w.cond.L = &w.mu
	p.mu.Lock()
	defer p.mu.Unlock()
	w.index = len(p.waiters)
	p.waiters = append(p.waiters, w)
	if err := w.joinLocked(); err != nil {
		p.waiters = p.waiters[:w.index]
		return nil, err
	}
	return w, nil
}

// Join puts the socket back after Leave. If something can be accepted already, Wait returns.
func (w *Waiter) Join() error {
	w.poller.mu.Lock()
	defer w.poller.mu.Unlock()
	return w.joinLocked()
}

func (w *Waiter) joinLocked() error {
	if w.poller.closed {
		return os.ErrClosed
	}
	ev := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET&0xffffffff, Fd: int32(waiterSlot - w.index)}
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(w.poller.set.fd, unix.EPOLL_CTL_ADD, w.fd, &ev))
}

// Leave takes the socket out of the set until Join: what comes meanwhile does not end Wait.
func (w *Waiter) Leave() {
	w.poller.mu.Lock()
	defer w.poller.mu.Unlock()
	w.leaveLocked()
}

func (w *Waiter) leaveLocked() {
	if !w.poller.freed {
		_ = unix.EpollCtl(w.poller.set.fd, unix.EPOLL_CTL_DEL, w.fd, nil)
	}
}

// Wait returns when something has come since the last call, or after Stop. The caller accepts until
// nothing is left before it waits.
func (w *Waiter) Wait() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for !w.ready && !w.stopped {
		w.cond.Wait()
	}
	w.ready = false
}

// Err returns [os.ErrDeadlineExceeded] after Stop, otherwise nil.
func (w *Waiter) Err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stopped {
		return os.ErrDeadlineExceeded
	}
	return nil
}

// Stop ends the Wait that is running, and each later one.
func (w *Waiter) Stop() { w.set(&w.stopped) }

// tell marks the socket as ready. A runner calls it.
func (w *Waiter) tell() { w.set(&w.ready) }

func (w *Waiter) set(field *bool) {
	w.mu.Lock()
	*field = true
	w.cond.Signal()
	w.mu.Unlock()
}

// Close forgets the socket. Duplicates of it would otherwise keep it in the set.
func (w *Waiter) Close() {
	p := w.poller
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiters[w.index] = nil
	w.leaveLocked()
}
