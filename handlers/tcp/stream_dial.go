package tcp

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"time"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/loop"
)

const defaultConnectTimeout = 30 * time.Second

// ErrOpen means that a stream was to be opened which is not closed.
var ErrOpen = errors.New("stream is not closed")

// Dial opens a closed stream to an address, as [net.Dialer.DialContext] knows them, and returns
// when there is a connection: OnConnect follows. What is written meanwhile waits for it. When there
// is no connection it returns the error, after OnError and OnClose. The context and ConnectTimeout
// bound it, and Destroy ends it.
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

// connect gets a connection from code of the program's. A panic there is an error, and so is a nil
// connection.
func connect(get func() (net.Conn, error)) (nc net.Conn, err error) {
	if panicked := handlers.Guard(func() { nc, err = get() }); panicked != nil {
		return nil, panicked
	}
	if nc == nil && err == nil {
		err = errNoConnection
	}
	return nc, err
}

// peerOf returns the address of the peer of nc, which it closes if that panics.
func peerOf(nc net.Conn) (remote netip.AddrPort, err error) {
	if err = handlers.Guard(func() { remote = addressOf(nc.RemoteAddr()) }); err != nil {
		_ = handlers.Guard(func() { nc.Close() })
	}
	return remote, err
}

var errNoConnection = errors.New("neither a connection nor an error")

// bounded bounds the time that connecting may take.
func (s *Stream) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	switch t := s.ConnectTimeout; {
	case t == 0:
		return context.WithTimeout(ctx, defaultConnectTimeout)
	case t > 0:
		return context.WithTimeout(ctx, t)
	}
	return context.WithCancel(ctx)
}

// Open has a closed stream drive nc, which is the stream's from then on, as a client's. TCP and
// Unix sockets need no goroutine while they are idle; other connections have one.
func (s *Stream) Open(nc net.Conn) error {
	remote := addressOf(nc.RemoteAddr()) // without the lock: it may panic
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

// start drives a connection that is the program's.
func (s *Stream) start(nc net.Conn, remote netip.AddrPort) {
	home := clients.enter(setupClients)
	s.mu.Lock()
	s.lodging, s.remote = home, remote
	run := s.startLocked(&plain{nc}, &home.loop)
	conn, destroyed := s.conn, s.destroyed
	s.mu.Unlock()
	if destroyed { // while it was opening
		conn.Destroy()
	}
	if run != nil {
		go run() // ends with its first turn; its loop waits for the connection
	}
}

// startLocked drives c. The caller calls run, if it is not nil, without the lock.
func (s *Stream) startLocked(c handlers.Conn, l *loop.Loop) (run func()) {
	lc := l.New(c, handlers.Attachment{Codec: (*driven)(s)})
	s.loop, s.state = l, stateOpen
	if s.paused {
		lc.Pause()
	}
	if x := s.rare; x != nil && len(x.pending) > 0 {
		_ = lc.TrySend(x.pending, handlers.Auto) // nothing is queued, so it has room
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

// addressOf is zero for what is not TCP.
func addressOf(a net.Addr) netip.AddrPort {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := t.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// plain is a connection that no port has accepted.
type plain struct{ net.Conn }

// unknown is what is known of it: the stream keeps the rest.
var unknown = handlers.Info{Protocol: handlers.ProtocolTCP}

// Info is [handlers.Conn.Info].
func (p *plain) Info() *handlers.Info { return &unknown }

// NetConn is [handlers.Conn.NetConn].
func (p *plain) NetConn() (net.Conn, error) { return p.Conn, nil }

// Detach is [handlers.Detacher.Detach]: it has no place.
func (p *plain) Detach() io.Closer { return nowhere{} }

type nowhere struct{}

func (nowhere) Close() error { return nil }
