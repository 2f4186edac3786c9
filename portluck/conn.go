package portluck

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/matchers"
	"github.com/portluck/portluck/portluck/hub"
)

// conn is an accepted connection on its way to its handler: cmux carries it, and the handler gets
// it as its [handlers.Conn]. It stays a bare descriptor until a caller asks for more; where there
// is no descriptor it wraps a net.Conn.
type conn struct {
	net.Conn // always nil: cmux needs a net.Conn but must not use it

	port    *port
	info    handlers.Info
	route   *route // the verdict
	run     func() // drives the connection after Serve returns, in the same goroutine; may be nil
	proxied bool   // its PROXY header was consumed
	// unproxied means that a PROXY header is still due. Until then nothing else is served.
	unproxied bool
	// eager means that the undecided bytes are read rather than peeked at: the kernel queues few
	// small writes on a Unix socket, so its client could block until we read.
	eager bool
	outer handlers.Conn // the enclosing layer, such as TLS, or nil

	quota
	*sniffing // nil once the loop drives it

	mu      sync.Mutex
	sock    socket // its current form
	closed  bool
	session *hub.Session // set when the handler calls Attach; nil before
}

// socket is one of the forms that a connection can have.
type socket interface {
	// netConn returns a net.Conn, which takes over the socket.
	netConn() (net.Conn, error)
	// form returns the socket as the loop takes it.
	form() handlers.Socket
	// kill ends the connection without closing a descriptor that another goroutine may be using.
	kill()
	Close() error
}

// newInfo returns the Info of a connection that was just accepted. Its protocol is TCP until the
// handler sets another.
func newInfo(local, remote netip.AddrPort) handlers.Info {
	return handlers.Info{Protocol: handlers.ProtocolTCP, Local: local, Remote: remote}
}

// Info is [handlers.Conn.Info].
func (c *conn) Info() *handlers.Info { return &c.info }

// NetConn is [handlers.Conn.NetConn].
func (c *conn) NetConn() (net.Conn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, net.ErrClosed
	}
	nc, err := c.sock.netConn()
	if err != nil {
		return nil, fmt.Errorf("make a net.Conn: %w", err)
	}
	if tcp, ok := nc.(*net.TCPConn); ok && tcp.RemoteAddr() == nil && c.info.Remote.IsValid() {
		nc = &resetConn{tcp, net.TCPAddrFromAddrPort(c.info.Remote)}
	}
	c.sock = &made{Conn: nc}
	return nc, nil
}

// resetConn is a connection that its peer reset before the *net.TCPConn was made, which therefore
// lacks the remote address. Bytes that arrived before the reset can still be read.
type resetConn struct {
	*net.TCPConn
	remote net.Addr
}

// RemoteAddr returns the client's address.
func (c *resetConn) RemoteAddr() net.Addr { return c.remote }

// Socket is [handlers.Detacher.Socket].
func (c *conn) Socket() handlers.Socket {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return handlers.Socket{FD: -1}
	}
	return c.sock.form()
}

// attached returns the session that the handler made of c with Attach, or nil.
func (c *conn) attached() *hub.Session {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.session
}

// Close is [handlers.Conn.Close].
func (c *conn) Close() error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil
	}
	c.closed = true
	sock := c.sock
	c.mu.Unlock()
	defer func() { // also if the Close of the program's own net.Conn panics
		if c.outer != nil {
			c.outer.Close()
		} else {
			c.port.limits.release(c)
		}
	}()
	return sock.Close()
}

// Detach is [handlers.Detacher.Detach]. From then on the loop tracks the connection and kills it
// if need be.
func (c *conn) Detach() (place io.Closer, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, net.ErrClosed
	}
	c.closed = true
	if c.outer != nil {
		return handlers.AsDetacher(c.outer).Detach()
	}
	c.port.limits.forget(c)
	return c.share, nil
}

// kill ends the connection, even while others use it.
func (c *conn) kill() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.sock.kill()
	}
}

// RemoteAddr returns the client's address, for cmux's errors.
func (c *conn) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(c.info.Remote) }

func (c *conn) hello(b []byte, eof bool) matchers.Hello {
	return matchers.Hello{Bytes: b, EOF: eof, Local: c.info.Local, Remote: c.info.Remote, TLS: c.info.TLS}
}

// made is a socket that has become a net.Conn.
type made struct{ net.Conn }

func (m *made) netConn() (net.Conn, error) { return m.Conn, nil }

// form returns what is below a replayConn or replayTLS that NetConn has returned.
func (m *made) form() handlers.Socket {
	switch nc := m.Conn.(type) {
	case *replayConn:
		return nc.form()
	case *replayTLS:
		return nc.in.form()
	}
	return handlers.Socket{Conn: m.Conn}
}

func (m *made) kill() { m.Conn.Close() }

// replayed is a net.Conn whose first bytes were read to classify it.
type replayed struct{ *replayConn }

func newReplayed(p *port, nc net.Conn, info handlers.Info) *conn {
	return &conn{port: p, info: info, sniffing: &sniffing{}, sock: replayed{&replayConn{Conn: nc}}}
}

func (r replayed) netConn() (net.Conn, error) {
	if len(r.prefix) == 0 && r.err == nil {
		return r.Conn, nil
	}
	if layer, ok := r.Conn.(*tls.Conn); ok {
		return &replayTLS{layer, r.replayConn}, nil
	}
	return r.replayConn, nil
}

func (r replayed) kill() { r.Conn.Close() }

// sniffing holds a connection's state while it is being classified.
type sniffing struct {
	seen     int       // bytes available at the last look
	rest     int       // bytes of its PROXY header still to be consumed
	need     int       // total bytes that a matcher, or the route's opening, asked for
	chosen   *route    // the route, while its opening is not whole; nil before and after
	since    time.Time // when chosen became named.request, or a raw client began to be undecided
	graced   bool      // its time was extended once, as bytes came while the process was stalled
	waiting  bool      // it was silent for SniffTimeout, and now has Timeout
	farewell []byte    // sent to the client before it is dropped
	first    []byte    // for OnVerdict
	place    place     // its place in the sniffer
}
