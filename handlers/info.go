package handlers

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/netip"
)

// The names of the built-in protocols, as [Info] gives them.
const (
	ProtocolTCP       = "tcp"
	ProtocolHTTP1     = "http/1.1"
	ProtocolHTTP2     = "h2"
	ProtocolWebSocket = "websocket"
	ProtocolTLS       = "tls" // only before it is known what is inside
)

// Info says who a connection or a client is. It is not changed once a handler or a callback has
// seen it.
type Info struct {
	Protocol string // "tcp", "http/1.1", "h2", "websocket", or a route's own name
	// Route is the name of the route that took the connection, the inner one inside TLS that has
	// been decided again; empty before. That of datagrams is their protocol.
	Route string
	// Local and Remote are the two ends of the connection. Remote is the client that a trusted
	// proxy named, if one did (PROXY protocol). Both are zero on a Unix socket.
	Local, Remote netip.AddrPort
	// Peer is who has connected to a Unix socket, as the system says (SO_PEERCRED); nil on others,
	// and where it does not say.
	Peer *Peer
	// TLS is nil on a plain connection.
	TLS *tls.ConnectionState
	// Request is the HTTP request or WebSocket handshake; nil for other protocols. Its Body must
	// not be read.
	Request *http.Request
	// Head is the bytes that Request was parsed from, where a handler has them. The port keeps them
	// instead of Request, which takes many times as much memory, unless somebody has given Request
	// a context; without their Sec-WebSocket-Key, once for all clients that have sent the same.
	Head string
}

// Peer is the process at the other end of a Unix socket, and its user and group, when it connected.
type Peer struct{ PID, UID, GID int }

// Scheme is the URL scheme that a client of this kind dialled: http, https, ws, wss, tcp or tls;
// for other protocols it is the protocol's name.
func (i *Info) Scheme() string {
	plain, secure := i.Protocol, i.Protocol
	switch i.Protocol {
	case ProtocolTCP:
		plain, secure = "tcp", "tls"
	case ProtocolHTTP1, ProtocolHTTP2:
		plain, secure = "http", "https"
	case ProtocolWebSocket:
		plain, secure = "ws", "wss"
	}
	if i.TLS != nil {
		return secure
	}
	return plain
}

// Wrap returns a Conn that stands for an inner layer of outer: nc is its net.Conn and info
// describes it. Closing it closes nc, then outer.
func Wrap(outer Conn, nc net.Conn, info *Info) Conn {
	return &wrapped{outer: outer, nc: nc, info: info}
}

type wrapped struct {
	outer Conn
	nc    net.Conn
	info  *Info
}

func (w *wrapped) Info() *Info                { return w.info }
func (w *wrapped) NetConn() (net.Conn, error) { return w.nc, nil }

// Detach lets the layers go. Without a [Detacher] below all of it is closed in the end.
func (w *wrapped) Detach() io.Closer {
	if d, ok := w.outer.(Detacher); ok {
		return d.Detach()
	}
	return w
}

func (w *wrapped) Close() error {
	err := w.nc.Close()
	w.outer.Close()
	return err
}
