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

// listenerSource accepts from any listener. Its connections are read, not peeked at.
type listenerSource struct {
	port     *port
	l        net.Listener
	shut     func() error // closes l, once
	accepted atomic.Int64
}

func (s *listenerSource) accept(bool) error {
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
	c := newReplayed(s.port, nc, newInfo(addrOf(nc.LocalAddr()), addrOf(nc.RemoteAddr())))
	handlers.InlineUrgent(nc)
	learnPeer(nc, &c.info)
	if s.port.admit(c) {
		s.port.sniffReader(c)
	}
	return nil
}

// How long a listener that cannot be asked for what has come goes on accepting at a shutdown: until
// it has accepted nothing for restTicks ticks, and restTime at the most. Each tick lets the
// goroutines that are ready run: a timer alone would be before them.
const (
	restTicks = 10
	restTime  = 2 * time.Second
)

// stop closes the listener. At a shutdown it first takes in what has come, until ctx ends.
func (s *listenerSource) stop(ctx context.Context) {
	defer s.shut()
	if !s.port.draining.Load() {
		return
	}
	pollerTurn(ctx)
	last, quiet := s.accepted.Load(), 0
	for begin := time.Now(); quiet < restTicks && time.Since(begin) < restTime && ctx.Err() == nil; quiet++ {
		pause(ctx, settleTick)
		runtime.Gosched()
		if n := s.accepted.Load(); n != last {
			last, quiet = n, 0
		}
	}
}

// pollerTurn waits until Go's poller has told of all that was ready when it was called: it does so
// in the order in which the system does, a few at a time, and not often while the program is busy.
// It waits until ctx ends at the most.
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
			return true // the poller has told of the byte
		}
		_, err := w.Write([]byte{0})
		written = true
		return err != nil
	})
}

func (s *listenerSource) rest()  {}
func (s *listenerSource) close() {}
