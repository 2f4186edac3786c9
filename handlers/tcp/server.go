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

// A Server accepts streams: on a listener of its own ([Server.Listen]), from a port whose
// [handlers.Handler] it is, or both. Its fields must not be changed once it listens or serves. Its
// methods may be called concurrently.
type Server struct {
	// OnConnection is called with each new stream, before the stream's OnConnect. It may set the
	// stream's Events.
	OnConnection func(s *Stream)
	// OnClose is called when the server has stopped listening. Its streams live on.
	OnClose func()
	// OnError is called when a connection could not be accepted. The server goes on, unless OnClose
	// follows.
	OnError func(err error)
	// Log logs the errors that OnError gets, and the panics of callbacks. A portluck.Server is one.
	// If nil, those errors are not logged, and panics go to package log.
	Log handlers.ErrorLogger
	// Events, AllowHalfOpen and HandshakeTimeout are those of each new stream. HandshakeTimeout
	// is 10 seconds if zero, no bound if negative.
	Events           *Events
	AllowHalfOpen    bool
	HandshakeTimeout time.Duration
	// MaxConnections is how many streams there may be at once; no bound if zero or negative. More
	// are accepted and closed at once.
	MaxConnections int
	// MaxQueue is about how many bytes may be queued for a peer that does not read; 16 MiB if zero,
	// no bound if negative. While the queue is full the stream is not read. Streams of a port have
	// the port's bound.
	MaxQueue int
	// CloseTimeout is how long a stream that has ended may take to send what is queued; 2 minutes
	// if zero, no bound if negative. Streams of a port have the port's bound.
	CloseTimeout time.Duration
	// Goroutines uses a goroutine for each stream, as on systems without epoll.
	Goroutines bool

	n         atomic.Int64 // streams
	loops     sharedLoops
	accepting loop.Tasks

	mu        sync.Mutex
	listening *listening // nil while it does not listen
}

var _ handlers.Handler = (*Server)(nil)

// Connections returns the number of streams.
func (v *Server) Connections() int { return int(v.n.Load()) }

// Addr returns the address that the server listens on, or nil if it does not listen.
func (v *Server) Addr() net.Addr {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.listening == nil {
		return nil
	}
	return v.listening.listener.Addr()
}

// Serve starts a stream on a connection of a port. The port's bounds hold for it, and the port's
// Shutdown ends it. Serve may be called concurrently.
func (v *Server) Serve(c handlers.Conn, p handlers.Port) {
	if !v.admit() {
		c.Close()
		return
	}
	host, ok := p.(loop.Host)
	if !ok {
		shared := v.acquire()
		v.start(c, c.Info().Remote, &shared.loop, shared)
		return
	}
	v.start(c, c.Info().Remote, host.Loop(), nil)
}

// admit counts one more stream. It returns false if there are MaxConnections already.
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

// start starts a stream on c.
func (v *Server) start(c handlers.Conn, remote netip.AddrPort, l *loop.Loop, g *sharedLoop) {
	s := v.stream(remote, g)
	s.mu.Lock()
	run := s.startLocked(c, l)
	s.mu.Unlock()
	if run != nil {
		go run() // ends with its first turn; its loop waits for the connection
	}
}

// stream returns a stream for a connection that the server has accepted.
func (v *Server) stream(remote netip.AddrPort, g *sharedLoop) *Stream {
	return &Stream{
		Events: v.Events, AllowHalfOpen: v.AllowHalfOpen, HandshakeTimeout: v.HandshakeTimeout,
		server: v, counted: true, remote: remote, shared: g,
	}
}

// acquire returns the loop of the streams that no port drives.
func (v *Server) acquire() *sharedLoop { return v.loops.acquire(v.setup) }

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

// Close stops listening. The streams live on. OnClose follows, and the server may listen again.
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

// Shutdown stops listening and ends the streams. They still send what is queued and deliver what
// the peers had sent. Shutdown returns when the last callback has returned, the server's OnClose
// too. If ctx ends first, it closes the streams that are left and returns ctx.Err(); so it does if
// a callback calls it, because it then waits for itself. It does not end streams of a port: the
// port does.
func (v *Server) Shutdown(ctx context.Context) error {
	err := v.Close()
	if errors.Is(err, ErrNotListening) {
		err = nil
	}
	for _, g := range v.loops.retire() {
		err = cmp.Or(g.loop.Shutdown(ctx, 0), err)
	}
	return cmp.Or(v.accepting.Wait(ctx), err)
}
