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
	"github.com/portluck/portluck/handlers/loop"
	"github.com/portluck/portluck/matchers"
	"github.com/portluck/portluck/portluck/hub"
)

// conn is an accepted connection on its way to its handler: what cmux carries, and the
// [handlers.Conn] of the handler. It is a bare descriptor until somebody asks for more, or a
// net.Conn where there is no descriptor to be had.
type conn struct {
	net.Conn // nil: cmux wants one and must not touch it

	port    *port
	info    handlers.Info
	route   *route // the verdict
	run     func() // what is left to do after Serve, in the goroutine that called it
	proxied bool   // its PROXY header was taken off
	// unproxied means that its PROXY header must come first: nothing at all is served before.
	unproxied bool
	// eager means that its bytes are read while it is undecided, not peeked at: the kernel keeps
	// few small writes of a Unix socket, so that its client might wait for us.
	eager  bool
	inRoot bool          // it is root's goroutine that has accepted it
	outer  handlers.Conn // the layer around, or nil

	quota
	*sniffing            // nil once the loop drives it
	pending   *announced // its client, if it was announced before it was classified

	mu      sync.Mutex
	sock    socket // what it is now
	closed  bool
	session *hub.Session // of the client that its handler has made of it with Attach; nil before
}

// socket is one of the forms that a connection can have.
type socket interface {
	// netConn makes the net.Conn, which takes the socket over.
	netConn() (net.Conn, error)
	// transport is what the loop reads and writes, and what the socket is from then on.
	transport() (loop.Transport, socket, error)
	// kill ends the connection without closing a descriptor that somebody else may be using.
	kill()
	Close() error
}

// newInfo is what is known of a connection when it is accepted. Until its handler knows better its
// protocol is TCP.
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

// resetConn is a connection that its peer has reset before it was made a *net.TCPConn, which does
// not know the address then. What the peer has sent before is still to be read.
type resetConn struct {
	*net.TCPConn
	remote net.Addr
}

// RemoteAddr is that of the client.
func (c *resetConn) RemoteAddr() net.Addr { return c.remote }

// Transport is [loop.Source.Transport].
func (c *conn) Transport() (loop.Transport, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, net.ErrClosed
	}
	t, sock, err := c.sock.transport()
	c.sock = sock
	return t, err
}

// attached is the session of the client that the handler has made of c; nil if it has not.
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
	defer func() { // whatever a connection of the program's does at its end
		if c.outer != nil {
			c.outer.Close()
		} else {
			c.port.limits.release(c)
		}
	}()
	return sock.Close()
}

// Detach is [handlers.Detacher.Detach]. The loop knows the connection by now, and has it killed if
// need be.
func (c *conn) Detach() io.Closer {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.detachLocked()
}

func (c *conn) detachLocked() io.Closer {
	if c.closed {
		return nowhere{} // its place was given back
	}
	c.closed = true
	if c.outer != nil {
		if d, ok := c.outer.(handlers.Detacher); ok {
			return d.Detach()
		}
		return c.outer
	}
	c.port.limits.forget(c)
	return c.share
}

// nowhere is no place.
type nowhere struct{}

func (nowhere) Close() error { return nil }

// kill ends the connection under whoever has it.
func (c *conn) kill() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.sock.kill()
	}
}

// RemoteAddr is for cmux's errors.
func (c *conn) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(c.info.Remote) }

func (c *conn) hello(b []byte, eof bool) matchers.Hello {
	return matchers.Hello{Bytes: b, EOF: eof, Local: c.info.Local, Remote: c.info.Remote, TLS: c.info.TLS}
}

// made is a socket that is a net.Conn by now.
type made struct{ net.Conn }

func (m *made) netConn() (net.Conn, error) { return m.Conn, nil }

func (m *made) transport() (loop.Transport, socket, error) {
	return loop.NetTransport(m.Conn), m, nil
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

func (r replayed) transport() (loop.Transport, socket, error) {
	nc, err := r.netConn()
	return loop.NetTransport(nc), r, err
}

func (r replayed) kill() { r.Conn.Close() }

// sniffing is the part of a connection that is being classified.
type sniffing struct {
	seen     int       // bytes that were there at the last look
	rest     int       // bytes of its PROXY header that are to be taken off
	need     int       // bytes that a matcher, or the route's opening, asked for
	chosen   *route    // the route, while its opening is not whole; nil before and after
	since    time.Time // when chosen became named.request
	graced   bool      // it has had its time again, as bytes came while the process stood still
	waiting  bool      // it was silent for SniffTimeout, and now has Timeout
	farewell []byte    // what it is told when it is dropped
	first    []byte    // for OnVerdict
	place    place     // where it waits in the system's sniffer
}
