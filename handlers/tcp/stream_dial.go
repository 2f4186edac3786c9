package tcp

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"time"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/loop"
)

const defaultConnectTimeout = 30 * time.Second

// ErrOpen means that Dial or Open was called for a stream that is not closed.
var ErrOpen = errors.New("stream is not closed")

// Dial opens a closed stream to an address as [net.Dialer.DialContext] takes it. It returns when it
// has connected, and OnConnect follows. What is written meanwhile waits. If it cannot connect, Dial
// calls OnError and OnClose and returns the error. ctx and ConnectTimeout bound it, and Destroy
// ends it.
func (s *Stream) Dial(ctx context.Context, network, address string) error {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	s.mu.Lock()
	if s.state != stateClosed {
		s.mu.Unlock()
		return ErrOpen
	}
	s.state, s.client, s.server, s.remote = stateOpening, true, nil, netip.AddrPort{}
	s.rareLocked().cancel = cancel
	s.mu.Unlock()
	dial := s.DialContext
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	nc, err := connect(func() (net.Conn, error) { return dial(ctx, network, address) })
	if err == nil && s.isDestroyed() {
		_ = handlers.Guard(func() { nc.Close() })
		err = net.ErrClosed
	}
	var remote netip.AddrPort
	if err == nil {
		remote, err = peerOf(nc)
	}
	if err != nil {
		s.closed(err)
		return err
	}
	s.start(nc, remote)
	return nil
}

// connect calls get, which is code of the program, for a connection. It returns an error if get
// panics, or returns neither a connection nor an error.
func connect(get func() (net.Conn, error)) (nc net.Conn, err error) {
	if panicked := handlers.Guard(func() { nc, err = get() }); panicked != nil {
		return nil, panicked
	}
	if nc == nil && err == nil {
		err = errNoConnection
	}
	return nc, err
}

// peerOf returns the address of the peer of nc. If RemoteAddr panics, it closes nc.
func peerOf(nc net.Conn) (remote netip.AddrPort, err error) {
	if err = handlers.Guard(func() { remote = handlers.AddrPort(nc.RemoteAddr()) }); err != nil {
		_ = handlers.Guard(func() { nc.Close() })
	}
	return remote, err
}

var errNoConnection = errors.New("neither a connection nor an error")

// bounded returns ctx with ConnectTimeout.
func (s *Stream) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	switch t := s.ConnectTimeout; {
	case t == 0:
		return context.WithTimeout(ctx, defaultConnectTimeout)
	case t > 0:
		return context.WithTimeout(ctx, t)
	}
	return context.WithCancel(ctx)
}

// Open opens a closed stream on nc, which the stream owns from then on. The stream is a client. TCP
// and Unix sockets need no goroutine while they are idle; other connections have one each.
func (s *Stream) Open(nc net.Conn) error {
	remote := handlers.AddrPort(nc.RemoteAddr()) // not under the lock: RemoteAddr may panic
	s.mu.Lock()
	if s.state != stateClosed {
		s.mu.Unlock()
		return ErrOpen
	}
	s.state, s.client, s.server = stateOpening, true, nil
	s.rareLocked().cancel = func() {}
	s.mu.Unlock()
	s.start(nc, remote)
	return nil
}

// start starts a stream that the program opens, on nc.
func (s *Stream) start(nc net.Conn, remote netip.AddrPort) {
	shared := clients.acquire(setupClients)
	s.mu.Lock()
	s.shared, s.remote = shared, remote
	run := s.startLocked(handlers.Wrap(nil, nc, &unknown), &shared.loop)
	conn, destroyed := s.conn, s.destroyed
	s.mu.Unlock()
	if destroyed { // Destroy was called while the stream was opening
		conn.Destroy()
	}
	if run != nil {
		go run() // ends with its first turn; its loop waits for the connection
	}
}

// startLocked attaches c to the loop. If run is not nil, the caller calls it without the lock.
func (s *Stream) startLocked(c handlers.Conn, l *loop.Loop) (run func()) {
	lc := l.New(c, handlers.Attachment{Codec: (*driven)(s)})
	s.loop, s.state = l, stateOpen
	if s.paused {
		lc.Pause()
	}
	if x := s.rare; x != nil && len(x.pending) > 0 {
		_ = lc.TrySend(x.pending, handlers.Auto) // cannot fail: nothing is queued
		x.pending = nil
	}
	run = lc.Start((*driven)(s))
	s.conn = lc
	if s.ended {
		_ = lc.End()
	}
	if s.draining && !lc.Drain((*driven)(s)) {
		s.drainedLocked()
		lc.Wake(0)
	}
	return run
}

// unknown is the Info of connections without a port. The stream itself has the address and the
// state of TLS.
var unknown = handlers.Info{Protocol: handlers.ProtocolTCP}
