package callosum

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/internal/tasks"
)

// DefaultPort is the port of servers, for [Server] and for [Dialer].
const DefaultPort = "4040"

// Errors of a [Server].
var (
	// ErrServerClosed is returned by Serve and ListenAndServe after Shutdown or Close.
	ErrServerClosed = errors.New("server closed")
	// ErrTooMany means that there are already MaxConns connections.
	ErrTooMany = errors.New("too many connections")
)

// A Server serves a [Handler] on a port of its own. Its zero value is ready to use. The fields must
// not be changed once it serves.
type Server struct {
	// Addr is the host:port on which ListenAndServe listens; port 4040 of all addresses if empty.
	Addr string
	// Handler gives the slots; a new one if nil.
	Handler *Handler
	// MaxConns bounds the connections; no bound if zero or negative. The Server closes a connection
	// beyond it, and OnError gets [ErrTooMany].
	MaxConns int
	// Log, such as a portluck server, logs the errors that the handler's OnError gets for this Server.
	// If nil they are not logged.
	Log handlers.ErrorLogger

	mu        sync.Mutex
	handler   *Handler
	listeners map[*listener]struct{}
	conns     map[net.Conn]struct{}
	closing   bool
	closed    chan struct{} // closed when closing is set
	tasks     tasks.Group   // connections, their callbacks, and Serve
}

// ListenAndServe listens on Addr and serves until Shutdown or Close, then returns
// [ErrServerClosed].
func (s *Server) ListenAndServe() error {
	addr := s.Addr
	if addr == "" {
		addr = ":" + DefaultPort
	}
	l, err := handlers.ListenTCP(net.ListenConfig{}, "tcp", addr)
	if err != nil {
		return fmt.Errorf("callosum: %w", err)
	}
	return s.Serve(l)
}

// Serve serves the connections of l until l fails, or until Shutdown or Close; then it returns
// [ErrServerClosed]. It closes l. It may be called for several listeners at once.
func (s *Server) Serve(l net.Listener) error {
	if handlers.IsNil(l) {
		return errors.New("callosum: Serve: the listener is nil")
	}
	once := &listener{Listener: l}
	defer closeGuarded(once)
	if !s.enter(once) {
		return ErrServerClosed
	}
	defer s.leave(once)
	var pause handlers.Backoff
	for {
		var nc net.Conn
		var err error
		if p := handlers.Guard(func() { nc, err = l.Accept() }); p != nil {
			err = p
		}
		switch {
		case err == nil:
			pause = 0
			// RemoteAddr or another method of nc has panicked.
			if err := handlers.Guard(func() { s.take(nc) }); err != nil {
				closeGuarded(nc)
				s.fail(nil, err)
			}
			continue
		case s.isClosing():
			return ErrServerClosed
		case handlers.AcceptEnds(err):
			return fmt.Errorf("callosum: accept: %w", err)
		}
		s.fail(nil, fmt.Errorf("callosum: accept: %w", err))
		handlers.Pause(s.closed, pause.Next())
	}
}

// enter adds l to the listeners of s. It returns false if the server is closed.
func (s *Server) enter(l *listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.initLocked()
	if s.closing {
		return false
	}
	s.listeners[l] = struct{}{}
	s.tasks.Add()
	return true
}

func (s *Server) initLocked() {
	if s.closed != nil {
		return
	}
	s.closed, s.listeners, s.conns = make(chan struct{}), map[*listener]struct{}{}, map[net.Conn]struct{}{}
	if s.handler = s.Handler; s.handler == nil {
		s.handler = &Handler{}
	}
}

func (s *Server) leave(l *listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.listeners, l)
	s.tasks.Done()
}

// take serves nc in a goroutine of its own.
func (s *Server) take(nc net.Conn) {
	handlers.InlineUrgent(nc)
	info := &handlers.Info{Protocol: Protocol, Local: handlers.AddrPort(nc.LocalAddr()), Remote: handlers.AddrPort(nc.RemoteAddr())}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing || s.fullLocked() {
		closeGuarded(nc)
		if !s.closing {
			s.tasks.Go(func() { s.fail(info, ErrTooMany) }) // ends with the callback
		}
		return
	}
	s.conns[nc] = struct{}{}
	s.tasks.Go(func() { // ends with the connection
		s.handler.serve(nc, info, s, s.fail)
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.conns, nc)
	})
}

func (s *Server) fullLocked() bool { return s.MaxConns > 0 && len(s.conns) >= s.MaxConns }

// fail logs err and calls the handler's OnError.
func (s *Server) fail(info *handlers.Info, err error) { s.handler.fail(s.Log, info, err) }

// Addrs returns the addresses that the server listens on now.
func (s *Server) Addrs() []net.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]net.Addr, 0, len(s.listeners))
	for l := range s.listeners {
		all = append(all, l.Addr())
	}
	return all
}

// Shutdown stops accepting and lets the running OnConnections finish. It returns nil when all
// connections are closed, all callbacks have returned and Serve is about to return. If ctx ends
// first, Shutdown closes the remaining connections and returns the error of ctx. A Shutdown that a
// callback calls always ends that way, as it waits for that callback.
func (s *Server) Shutdown(ctx context.Context) error {
	h := s.stopAccepting()
	h.stop(s)
	err := s.tasks.Wait(ctx)
	if err != nil {
		s.closeAll()
	}
	return err
}

// Close closes the listeners and all connections at once. It does not wait for callbacks that are
// running.
func (s *Server) Close() error {
	h := s.stopAccepting()
	h.stop(s)
	s.closeAll()
	return nil
}

func (s *Server) stopAccepting() *Handler {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.initLocked()
	if !s.closing {
		s.closing = true
		close(s.closed)
	}
	for l := range s.listeners {
		closeGuarded(l)
	}
	return s.handler
}

// listener closes its net.Listener once, however often Close is called, as the program's listener
// may not bear a second call.
type listener struct {
	net.Listener
	once sync.Once
	err  error
}

func (l *listener) Close() error {
	l.once.Do(func() { l.err = l.Listener.Close() })
	return l.err
}

// closeGuarded closes c, which the program has made, and recovers its panic.
func closeGuarded(c io.Closer) { _ = handlers.Guard(func() { c.Close() }) }

func (s *Server) closeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for nc := range s.conns {
		closeGuarded(nc)
	}
}

func (s *Server) isClosing() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closing
}
