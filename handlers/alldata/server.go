package alldata

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"math"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/internal/grace"
	"github.com/portluck/portluck/handlers/internal/setting"
	"github.com/portluck/portluck/handlers/internal/tasks"
)

// DefaultAddr is the address of a [Server] whose Addr is empty: port 8080 of every address.
const DefaultAddr = ":8080"

// A Server serves _put requests on a listener of its own. Only Handler must be set. The fields must
// not be changed while it listens. Any goroutine may call its methods.
type Server struct {
	// Addr is host:port; [DefaultAddr] if empty. Without a host it is every address, and port 0 is
	// any free one.
	Addr string
	// Hosts lists the names that the server answers to, besides localhost and IP addresses; see
	// [handlers.Hosts]. If empty, every name is allowed except on loopback addresses.
	Hosts []string
	// Handler answers the requests: a [*Handler], or one around it.
	Handler http.Handler
	// Paths lists the paths that are served; others are answered with 404. If nil they are /, which
	// clients use by default, and /_put, the name of the protocol. The path * stands for every
	// path, as upstream serves.
	Paths []string
	// MaxConns bounds the connections: a surplus one is closed. 1,000 if zero, no bound if
	// negative.
	MaxConns int
	// IdleTimeout bounds how long a connection may be idle between requests, and HeaderTimeout how
	// long the head of one may take; 2 minutes and 10 seconds if zero, no bound if negative.
	IdleTimeout, HeaderTimeout time.Duration
	// WriteTimeout bounds a request from its head to the end of its answer; 2 minutes if zero, no
	// bound if negative.
	WriteTimeout time.Duration
	// CloseTimeout is how long Close lets requests finish; 10 seconds if zero, without end if
	// negative.
	CloseTimeout time.Duration
	// OnError, if not nil, is called with the reason if the server stops listening without a Close.
	OnError func(err error)
	// Log, such as a portluck server, logs the errors that OnError and the Handler's OnError get.
	// If nil they are not logged.
	Log handlers.ErrorLogger
	// ErrorLog gets the log of net/http. If nil that is dropped.
	ErrorLog *log.Logger

	mu      sync.Mutex
	running *running // nil while it does not listen
}

// running is the state of a server that listens.
type running struct {
	http   *http.Server
	served chan struct{} // closed when the server accepts no more connections
	tasks  tasks.Group   // the goroutine that accepts, and then calls OnError
}

// Listen begins to serve and returns the address of the listener. It may be called again after
// Close.
func (s *Server) Listen() (net.Addr, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running != nil {
		return nil, errors.New("alldata: the server is listening already")
	}
	if err := handlers.Hosts(s.Hosts).Check(); err != nil {
		return nil, fmt.Errorf("alldata: Hosts: %w", err)
	}
	l, err := handlers.ListenTCP(net.ListenConfig{}, "tcp", cmp.Or(s.Addr, DefaultAddr))
	if err != nil {
		return nil, err
	}
	s.beginLocked(l)
	return l.Addr(), nil
}

func (s *Server) beginLocked(l net.Listener) {
	r := &running{http: s.server(), served: make(chan struct{})}
	s.running = r
	// run ends with Close, or when the listener has failed and OnError has returned.
	r.tasks.Go(func() { s.run(r, l) })
}

func (s *Server) run(r *running, l net.Listener) {
	err := r.http.Serve(&limited{Listener: l, most: s.maxConns()})
	close(r.served)
	if errors.Is(err, http.ErrServerClosed) {
		return
	}
	var onError func()
	if s.OnError != nil {
		onError = func() { s.OnError(err) }
	}
	handlers.Report(s.Log, nil, fmt.Errorf("alldata: the server does not listen any more: %w", err), onError)
}

func (s *Server) maxConns() int64 { return setting.Or(int64(s.MaxConns), 1000, math.MaxInt64) }

func (s *Server) server() *http.Server {
	errorLog := s.ErrorLog
	if errorLog == nil {
		errorLog = log.New(io.Discard, "", 0)
	}
	return &http.Server{
		Handler:           handlers.Hosts(s.Hosts).Handler(http.HandlerFunc(s.serve)),
		ReadHeaderTimeout: cmp.Or(s.HeaderTimeout, 10*time.Second),
		IdleTimeout:       cmp.Or(s.IdleTimeout, 2*time.Minute),
		WriteTimeout:      cmp.Or(s.WriteTimeout, 2*time.Minute),
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          errorLog,
		BaseContext: func(net.Listener) context.Context {
			return context.WithValue(context.Background(), handlers.PortContextKey, s.Log)
		},
		// serve then refuses OPTIONS * like any other OPTIONS.
		DisableGeneralOptionsHandler: true,
	}
}

// serve answers a request if the server serves its path.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	paths := s.Paths
	if paths == nil {
		paths = []string{"/", "/_put"}
	}
	if !slices.Contains(paths, r.URL.Path) && !slices.Contains(paths, "*") {
		http.Error(w, "there is nothing at this path", http.StatusNotFound)
		return
	}
	s.Handler.ServeHTTP(w, r)
}

// Close stops accepting connections and lets the requests that have begun finish. It returns when
// they and OnError have returned. After CloseTimeout it cuts the remaining requests off and returns
// context.DeadlineExceeded. Before Listen it does nothing. OnError may call Close, which then does
// not wait for that OnError.
func (s *Server) Close() error {
	s.mu.Lock()
	r := s.running
	s.running = nil
	s.mu.Unlock()
	if r == nil {
		return nil
	}
	ctx, cancel := s.closeContext()
	defer cancel()
	err := r.http.Shutdown(ctx)
	if err != nil {
		_ = r.http.Close()
	}
	<-r.served
	return cmp.Or(err, r.tasks.WaitOthers(ctx))
}

func (s *Server) closeContext() (context.Context, context.CancelFunc) {
	return bounded(context.Background(), s.CloseTimeout, 10*time.Second)
}

// limited is a listener that bounds its open connections.
type limited struct {
	net.Listener
	most int64

	mu   sync.Mutex // guards open
	open int64
}

// Accept returns the next connection, and closes those beyond the bound.
func (l *limited) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		switch {
		case err != nil && !handlers.AcceptEnds(err):
			return nil, passing{err}
		case err != nil:
			return nil, err
		}
		if l.enter() {
			return &limitedConn{Conn: grace.Conn(c), l: l}, nil
		}
		c.Close()
	}
}

// passing is an error of Accept after which net/http pauses and accepts again.
type passing struct{ error }

func (passing) Timeout() bool   { return false }
func (passing) Temporary() bool { return true }
func (p passing) Unwrap() error { return p.error }

func (l *limited) enter() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open >= l.most {
		return false
	}
	l.open++
	return true
}

// limitedConn is a connection of limited. Closing it makes room for another one, once.
type limitedConn struct {
	net.Conn
	l    *limited
	once sync.Once
}

// CloseWrite lets net/http close gracefully, so that a client that still sends gets its answer.
func (c *limitedConn) CloseWrite() error { return handlers.CloseWrite(c.Conn) }

func (c *limitedConn) Close() error {
	c.once.Do(func() {
		c.l.mu.Lock()
		defer c.l.mu.Unlock()
		c.l.open--
	})
	return c.Conn.Close()
}
