package handlers

import (
	"crypto/tls"
	"net/http"
	"net/netip"
)

// The names of the built-in protocols, as [Info] gives them.
const (
	ProtocolTCP       = "tcp"
	ProtocolHTTP1     = "http/1.1"
	ProtocolHTTP2     = "h2"
	ProtocolWebSocket = "websocket"
	ProtocolTLS       = "tls" // only until the protocol inside is known
)

// Info describes a connection or a client. It is not changed once a handler or a callback has seen
// it.
type Info struct {
	Protocol string // "tcp", "http/1.1", "h2", "websocket", or a route's own name
	// Route is the name of the route that took the connection, and empty before. For a connection
	// that was decided again inside TLS it is the inner route. For datagrams it is their protocol.
	Route string
	// Local and Remote are the two ends of the connection. Remote is the client that a trusted
	// proxy named, if one did (PROXY protocol). Both are zero on a Unix socket.
	Local, Remote netip.AddrPort
	// Peer is the process that connected to a Unix socket, as reported by the system (SO_PEERCRED).
	// It is nil for other connections and on systems that do not report it.
	Peer *Peer
	// TLS is nil on a plain connection.
	TLS *tls.ConnectionState
	// Request is the HTTP request or WebSocket handshake; nil for other protocols. Its Body must
	// not be read.
	Request *http.Request
	// Head holds the bytes that Request was parsed from, if the handler has them. The port keeps
	// Head instead of Request, which takes many times as much memory, unless Request was given a
	// context. It drops the Sec-WebSocket-Key, so that all clients that sent the same head share
	// one copy.
	Head string
	// Login is what the program's OnHandshake has said of the client; nil if there was none, or it
	// has said nothing.
	Login *Login
}

// Peer identifies the process at the other end of a Unix socket, with its user and group at the
// time it connected.
type Peer struct{ PID, UID, GID int }

// Scheme returns the URL scheme that the client used: http, https, ws, wss, tcp or tls. For other
// protocols it returns the protocol's name.
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
