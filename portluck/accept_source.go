package portluck

import (
	"context"
	"net"
	"os"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/portluck/portluck/handlers"
)

// listenerSource accepts from any listener. Its connections are classified by reading, not
// peeking.
type listenerSource struct {
	port     *port
	l        net.Listener
	shut     func() error // closes l, once
	accepted atomic.Int64
}

func (s *listenerSource) accept() error {
	var nc net.Conn
	var err error
	if panicked := handlers.Guard(func() { nc, err = s.l.Accept() }); panicked != nil {
		s.port.log.panicked(nil, panicked)
		return panicked
	}
	if err != nil {
		return err
	}
	s.accepted.Add(1)
	c := newReplayed(s.port, nc, newInfo(handlers.AddrPort(nc.LocalAddr()), handlers.AddrPort(nc.RemoteAddr())))
	handlers.InlineUrgent(nc)
	learnPeer(nc, &c.info)
	if s.port.admit(c) {
		s.port.sniffReader(c)
	}
	return nil
}

// These bound how long stop goes on accepting at a shutdown from a listener whose backlog cannot
// be asked for: until restTicks ticks pass without a connection, and at most restTime. Each tick
// also yields, so that ready goroutines run before the next timer.
const (
	restTicks = 10
	restTime  = 2 * time.Second
)

// stop closes the listener. At a shutdown it first accepts the pending connections, until ctx
// ends.
func (s *listenerSource) stop(ctx context.Context) {
	defer s.shut()
	if !s.port.draining.Load() {
		return
	}
	pollerTurn(ctx)
	last, quiet := s.accepted.Load(), 0
	for begin := time.Now(); quiet < restTicks && time.Since(begin) < restTime && ctx.Err() == nil; quiet++ {
		handlers.Pause(ctx.Done(), settleTick)
		runtime.Gosched()
		if n := s.accepted.Load(); n != last {
			last, quiet = n, 0
		}
	}
}

// pollerTurn waits until Go's network poller has reported everything that was ready at the call,
// or until ctx ends or restTime has passed. The poller reports events in the system's order, a few
// at a time, and rarely while the program is busy.
func pollerTurn(ctx context.Context) {
	r, w, err := os.Pipe()
	if err != nil {
		return
	}
	defer r.Close()
	defer w.Close()
	raw, err := r.SyscallConn()
	if err != nil || r.SetReadDeadline(time.Now().Add(restTime)) != nil {
		return
	}
	defer context.AfterFunc(ctx, func() { _ = r.SetReadDeadline(passed) })()
	written := false
	_ = raw.Read(func(uintptr) bool {
		if written {
			return true // the poller has reported the byte
		}
		_, err := w.Write([]byte{0})
		written = true
		return err != nil
	})
}

func (s *listenerSource) rest()  {}
func (s *listenerSource) close() {}
