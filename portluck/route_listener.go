package portluck

import (
	"crypto/tls"
	"io"
	"net"
	"sync"
	"time"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/matchers"
)

// listenerQueue is how many connections may wait in one listener to be accepted.
const listenerQueue = 1024

// Listen routes the connections that m matches to a net.Listener, for a server that wants one,
// such as an SSH or a net/rpc server. The connections embed the *net.TCPConn, *net.UnixConn or
// *tls.Conn, so that ConnectionState, NetConn and CloseWrite work. The program must close them.
// Connections that are not accepted within SniffTimeout are closed. Closing the listener does not
// close the port; Accept then returns [net.ErrClosed].
//
// Shutdown closes the listener once every waiting connection has been accepted or closed; Close
// closes both at once. An accepted connection belongs to the program: the port neither waits for
// it nor closes it, and counts it for MaxConns until the program closes it. Shut down the server
// that accepts, such as an http.Server or a grpc.Server, beside the port.
//
// Listen panics after Serve, if m is nil, and if name is empty or names another route.
func (s *Server) Listen(name string, m matchers.Matcher) net.Listener {
	s.checkRoute("Listen", name, m, false)
	l := s.newListener(name)
	s.route(name, m, l)
	s.listens = append(s.listens, l)
	return l
}

// ListenALPN is like Listen for the TLS clients that choose the protocol id: the connections embed
// a *tls.Conn whose handshake is complete. It panics as HandleALPN does.
func (s *Server) ListenALPN(id string) net.Listener {
	l := s.newListener(id)
	s.handleALPN("ListenALPN", id, l)
	s.listens = append(s.listens, l)
	return l
}

func (s *Server) newListener(name string) *listener {
	return &listener{name: name, patience: s.sniffTimeout, ready: make(chan struct{}, listenerQueue), done: make(chan struct{})}
}

// listener is a route that is a net.Listener.
type listener struct {
	name     string
	patience func() time.Duration
	ready    chan struct{} // at least one token for each entry of queue
	done     chan struct{}

	mu     sync.Mutex
	closed bool
	queue  []waiting
	timer  *time.Timer // closes the oldest of queue when its time is up
}

type waiting struct {
	conn  handlers.Conn
	until time.Time
}

// Serve queues c.
func (l *listener) Serve(c handlers.Conn, p handlers.Port) {
	l.mu.Lock()
	ok := !l.closed && len(l.queue) < listenerQueue
	if ok {
		l.queue = append(l.queue, waiting{c, time.Now().Add(l.patience())})
		if len(l.queue) == 1 && l.patience() > 0 {
			l.timer = time.AfterFunc(l.patience(), l.giveUp)
		}
	}
	l.mu.Unlock()
	if !ok {
		refuse(c, p, ErrLimit)
		return
	}
	select {
	case l.ready <- struct{}{}:
	default: // full of tokens of connections that were given up: Accept will wake up anyway
	}
}

// giveUp closes the connections that have waited too long.
func (l *listener) giveUp() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.queue) > 0 && !l.queue[0].until.After(time.Now()) {
		l.queue[0].conn.Close()
		l.queue = l.queue[1:]
	}
	if len(l.queue) > 0 {
		l.timer.Reset(time.Until(l.queue[0].until))
	}
}

// Accept returns the next connection.
func (l *listener) Accept() (net.Conn, error) {
	for {
		if c := l.next(); c != nil {
			if nc, err := counted(c); err == nil {
				return nc, nil
			}
			c.Close()
			continue
		}
		select {
		case <-l.ready:
		case <-l.done:
			if c := l.next(); c != nil {
				c.Close()
				continue
			}
			return nil, &net.OpError{Op: "accept", Net: "portluck", Addr: l.Addr(), Err: net.ErrClosed}
		}
	}
}

func (l *listener) next() handlers.Conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.queue) == 0 {
		return nil
	}
	c := l.queue[0].conn
	l.queue[0].conn = nil
	l.queue = l.queue[1:]
	return c
}

// len returns how many connections wait.
func (l *listener) len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.queue)
}

// Close closes the listener and the queued connections, not the port.
func (l *listener) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return net.ErrClosed
	}
	l.closed = true
	close(l.done)
	if l.timer != nil {
		l.timer.Stop()
	}
	for _, w := range l.queue {
		w.conn.Close()
	}
	l.queue = nil
	return nil
}

// Addr names the route or the protocol.
func (l *listener) Addr() net.Addr { return routeAddr(l.name) }

// routeAddr is the address of a listener that has no socket.
type routeAddr string

func (routeAddr) Network() string  { return "portluck" }
func (a routeAddr) String() string { return string(a) }

// counted returns the net.Conn of c. Its Close frees the MaxConns slot, and the program owns it
// from now on. The concrete type stays embedded for the methods that servers look for.
func counted(c handlers.Conn) (net.Conn, error) {
	nc, err := c.NetConn()
	if err != nil {
		return nil, err
	}
	place, err := handlers.AsDetacher(c).Detach()
	if err != nil {
		return nil, err
	}
	return countedAs(nc, &freed{of: place}), nil
}

func countedAs(nc net.Conn, p *freed) net.Conn {
	switch nc := nc.(type) {
	case *net.TCPConn:
		return &countedTCP{nc, p}
	case *resetConn:
		return &countedReset{nc, p}
	case *net.UnixConn:
		return &countedUnix{nc, p}
	case *tls.Conn:
		return &countedTLS{nc, p}
	case *replayTLS:
		return &countedReplayTLS{nc, p}
	case *replayConn:
		return &countedReplay{nc, p}
	}
	return &countedConn{nc, p}
}

// freed frees the MaxConns slot of a connection, once.
type freed struct {
	once sync.Once
	of   io.Closer
}

func (p *freed) free(err error) error {
	p.once.Do(func() { _ = p.of.Close() })
	return err
}

type countedTCP struct {
	*net.TCPConn
	place *freed
}

func (c *countedTCP) Close() error { return c.place.free(c.TCPConn.Close()) }

type countedReset struct {
	*resetConn
	place *freed
}

func (c *countedReset) Close() error { return c.place.free(c.TCPConn.Close()) }

type countedUnix struct {
	*net.UnixConn
	place *freed
}

func (c *countedUnix) Close() error { return c.place.free(c.UnixConn.Close()) }

type countedTLS struct {
	*tls.Conn
	place *freed
}

func (c *countedTLS) Close() error { return c.place.free(c.Conn.Close()) }

type countedReplayTLS struct {
	*replayTLS
	place *freed
}

func (c *countedReplayTLS) Close() error { return c.place.free(c.Conn.Close()) }

type countedReplay struct {
	*replayConn
	place *freed
}

func (c *countedReplay) Close() error { return c.place.free(c.Conn.Close()) }

type countedConn struct {
	net.Conn
	place *freed
}

func (c *countedConn) Close() error { return c.place.free(c.Conn.Close()) }
