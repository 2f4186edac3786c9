package portluck

import (
	"net"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/loop"
)

// inLane reports whether a connection that begins with b is served in the loop from its first
// request on.
func (p *port) inLane(info *Info, b []byte) bool {
	return p.parker() != nil && hasLane(info) && p.http.Lane(b)
}

// serveLane is the handler of such a connection. The loop has it as it has one that is parked.
func (p *port) serveLane(c handlers.Conn, _ handlers.Port) {
	k := &parked{port: p, idle: p.http.NewIdle(), remote: c.Info().Remote, shared: p.sharedInfo(c.Info())}
	driven := p.loop.New(c, handlers.Attachment{Codec: k})
	k.stream = laneOf(c.Info(), driven)
	pc := c.(*conn)
	pc.sniffing = nil
	pc.run = driven.Start(k)
}

// serve serves the requests of the lane that in begins with. It returns how many bytes they have,
// and open is false if the connection must be closed.
func (k *parked) serve(in []byte, m *handlers.Messages) (n int, open bool) {
	if k.stream == nil || len(in) == 0 {
		return 0, true
	}
	c := &laneConn{stream: k.stream, info: *k.shared}
	c.info.Remote = k.remote
	m.Reply, n, open = k.idle.Serve(m.Reply, in, c, k.port)
	return n, open
}

// laneStream is a connection of the epoll driver.
type laneStream interface {
	loop.Conn
	Dup() (net.Conn, error)
}

// hasLane reports whether a connection has a lane, if the loop gives it no goroutine. There is none
// over TLS, and none on a Unix socket, whose addresses an Info lacks.
func hasLane(info *Info) bool { return info.TLS == nil && info.Remote.IsValid() }

// laneOf returns the stream for the lane of a connection, or nil if there is no lane.
func laneOf(info *Info, driven loop.Conn) laneStream {
	if !hasLane(info) {
		return nil
	}
	s, _ := driven.(laneStream)
	return s
}

// laneConn is the [httpd.LaneConn] of a connection.
type laneConn struct {
	stream laneStream
	info   Info
}

// Info is [handlers.Conn.Info].
func (c *laneConn) Info() *Info { return &c.info }

// NetConn fails: the loop has the connection.
func (c *laneConn) NetConn() (net.Conn, error) { return nil, net.ErrClosed }

// Close closes the connection at once.
func (c *laneConn) Close() error {
	c.stream.Destroy()
	return nil
}

// Write sends p at once, even while a callback runs.
func (c *laneConn) Write(p []byte) (int, error) {
	n, err := c.stream.Write(p, handlers.Auto)
	c.stream.Flush()
	return n, err
}

// Dup is [httpd.LaneConn.Dup].
func (c *laneConn) Dup() (net.Conn, error) { return c.stream.Dup() }
