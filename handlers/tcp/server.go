package tcp

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/loop"
)

const (
	defaultQueue        = 16 << 20
	defaultCloseTimeout = 2 * time.Minute
)

// Errors of a server.
var (
	// ErrListening means that a server listens already.
	ErrListening = errors.New("server is listening already")
	// ErrNotListening means that a server does not listen.
	ErrNotListening = errors.New("server is not listening")
)

// A Server accepts streams: on a listener of its own ([Server.Listen]), on a port that it is given
// to as a [handlers.Handler], or on both. Its fields must not be changed once it listens or serves.
// Its methods may be called by any goroutine at any time.
type Server struct {
	// OnConnection gets each new stream, before the OnConnect of that. It may give it Events of its
	// own.
	OnConnection func(s *Stream)
	// OnClose says that the server has stopped listening. Its streams live on.
	OnClose func()
	// OnError says that a connection could not be accepted. The server goes on, unless OnClose
	// follows.
	OnError func(err error)
	// Log logs what OnError is told, and panics of the callbacks, such as a portluck server; nobody
	// logs what OnError is told if nil.
	Log handlers.ErrorLogger
	// Events, AllowHalfOpen and HandshakeTimeout are those of the streams to begin with. A
	// handshake may take 10 seconds if HandshakeTimeout is zero, and has no bound if it is
	// negative.
	Events           *Events
	AllowHalfOpen    bool
	HandshakeTimeout time.Duration
	// MaxConnections is how many streams there may be; any number if zero or negative. The surplus
	// is accepted and closed.
	MaxConnections int
	// MaxQueue is how many bytes may wait for a peer that does not read, more or less; 16 MiB if
	// zero, no bound if negative. While they do its stream is not read. In a port the port's bound
	// holds.
	MaxQueue int
	// CloseTimeout is how long a stream that has ended may take to send what is queued; 2 minutes
	// if zero, no bound if negative. In a port the port's bound holds.
	CloseTimeout time.Duration
	// Goroutines has a goroutine for each stream, as there must be where there is no epoll.
	Goroutines bool

	n         atomic.Int64 // streams
	home      home
	accepting loop.Tasks

	mu        sync.Mutex
	listening *listening // nil while it does not listen
}

var _ handlers.Handler = (*Server)(nil)

// Connections is how many streams there are.
func (v *Server) Connections() int { return int(v.n.Load()) }

// Addr is where the server listens; nil if it does not.
func (v *Server) Addr() net.Addr {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.listening == nil {
		return nil
	}
	return v.listening.listener.Addr()
}

// Serve makes a stream of a connection of a port, by whose bounds and shutdown it goes. It may be
// called by any number of goroutines at once.
func (v *Server) Serve(c handlers.Conn, p handlers.Port) {
	if !v.admit() {
		c.Close()
		return
	}
	host, ok := p.(loop.Host)
	if !ok {
		home := v.enter()
		v.start(c, c.Info().Remote, &home.loop, home)
		return
	}
	v.start(c, c.Info().Remote, host.Loop(), nil)
}

// admit counts a stream. It is false when there are too many.
func (v *Server) admit() bool {
	for {
		n := v.n.Load()
		if v.MaxConnections > 0 && n >= int64(v.MaxConnections) {
			return false
		}
		if v.n.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// start makes a stream of c.
func (v *Server) start(c handlers.Conn, remote netip.AddrPort, l *loop.Loop, g *lodging) {
	s := v.stream(remote, g)
	s.mu.Lock()
	run := s.startLocked(c, l)
	s.mu.Unlock()
	if run != nil {
		go run() // ends with its first turn; its loop waits for the connection
	}
}

// stream returns a stream that the server has accepted.
func (v *Server) stream(remote netip.AddrPort, g *lodging) *Stream {
	return &Stream{
		Events: v.Events, AllowHalfOpen: v.AllowHalfOpen, HandshakeTimeout: v.HandshakeTimeout,
		server: v, counted: true, remote: remote, lodging: g,
	}
}

// enter is the loop of the streams that no port drives.
func (v *Server) enter() *lodging { return v.home.enter(v.setup) }

func (v *Server) setup(l *loop.Loop) {
	l.MaxQueue, l.CloseTimeout = cmp.Or(v.MaxQueue, defaultQueue), cmp.Or(v.CloseTimeout, defaultCloseTimeout)
	l.Driver = driver
	if v.Goroutines {
		l.Driver = loop.Goroutines
	}
	if v.Log != nil {
		l.Panicked = func(err error) { handlers.LogPanic(v.Log, nil, err) }
	}
}

// Close stops listening. The streams live on; OnClose follows. A server may listen again after it.
func (v *Server) Close() error {
	v.mu.Lock()
	g := v.listening
	v.listening = nil
	v.mu.Unlock()
	if g == nil {
		return ErrNotListening
	}
	return g.close()
}

// Shutdown stops listening and ends the streams: what is queued, and what the peers have sent
// before, still gets through. It returns when the last callback has returned, the server's OnClose
// too. When ctx ends first it closes what is left and returns the error of ctx, as it does when a
// callback calls it, which waits for itself. The streams of a port are the port's to end.
func (v *Server) Shutdown(ctx context.Context) error {
	err := v.Close()
	if errors.Is(err, ErrNotListening) {
		err = nil
	}
	for _, g := range v.home.evict() {
		err = cmp.Or(g.loop.Shutdown(ctx, 0), err)
	}
	return cmp.Or(v.accepting.Wait(ctx), err)
}
