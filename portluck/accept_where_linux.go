package portluck

import (
	"errors"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/portluck/portluck/handlers/loop"
	"golang.org/x/sys/unix"
)

// acceptWait waits for connections with the loop's epoll set or with Go's poller, whichever serves
// those that come: the other would wake another thread for each. The goroutine that accepts calls
// its methods, and any goroutine stop.
type acceptWait struct {
	*loop.Waiter     // has fd unless file is there
	fd           int // the listening socket

	mu   sync.Mutex
	file *os.File // a duplicate of fd in Go's poller, or nil
	raw  syscall.RawConn
}

// choose moves the socket to the loop's set, or to Go's poller. It returns how to wait there, or
// nil if the socket is in the loop's set. The error is the one of [loop.Waiter.Err].
func (w *acceptWait) choose(h *heading) (syscall.RawConn, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.Err(); err != nil {
		return nil, err
	}
	inLoop := w.file == nil
	switch to := h.isLoop(inLoop); {
	case to == inLoop:
	case !to:
		w.leaveLocked()
	case w.Join() == nil:
		w.file.Close()
		w.file, w.raw = nil, nil
	}
	return w.raw, nil
}

// leaveLocked moves the socket to Go's poller, if there is a descriptor left for that.
func (w *acceptWait) leaveLocked() {
	fd, err := unix.FcntlInt(uintptr(w.fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return
	}
	file := os.NewFile(uintptr(fd), "listener")
	raw, err := file.SyscallConn()
	if err != nil || file.SetReadDeadline(time.Time{}) != nil { // Go's poller does not take it
		file.Close()
		return
	}
	w.Leave()
	w.file, w.raw = file, raw
}

// stop ends the wait.
func (w *acceptWait) stop() {
	w.Stop()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.file != nil {
		_ = w.file.SetReadDeadline(passed)
	}
}

// close forgets the socket.
func (w *acceptWait) close() {
	w.Close()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.file != nil {
		w.file.Close()
	}
}

// acceptWith waits with Go's poller for connections, and accepts a batch.
func (d *descriptors) acceptWith(raw syscall.RawConn) error {
	var accepted error
	// accepts before it waits: an earlier edge is not reported again
	err := raw.Read(func(uintptr) bool {
		accepted = d.acceptAll(acceptBatch)
		return !errors.Is(accepted, unix.EAGAIN)
	})
	if err != nil {
		return err
	}
	return accepted
}
