package portluck

import (
	"cmp"
	"crypto/tls"
	"errors"
	"math"
	"net"
	"net/http"
	"net/netip"
	"regexp"
	"sync"
	"sync/atomic"
	"time"

	"github.com/portluck/portluck/handlers"
	"github.com/rs/zerolog"
)

// DefaultAddr is where a [Server] without an Addr listens: port 8100 of 127.0.0.1 and ::1.
const DefaultAddr = "localhost:8100"

// ErrServerClosed is returned by Serve and ListenAndServe after Shutdown or Close.
var ErrServerClosed = errors.New("portluck: server closed")

// A Server is one port that speaks every protocol. Its zero value is ready: ListenAndServe serves
// HTTP/1.1, h2c, WebSocket and raw TCP on [DefaultAddr]; with TLSConfig also HTTPS, h2, WSS and raw
// TLS, all on the same port.
//
// Set the fields before Serve and do not change them later. A duration of zero means its default; a
// negative one means that there is no such bound.
type Server struct {
	// Addr is the TCP address that ListenAndServe listens on: host:port, or unix:PATH;
	// [DefaultAddr] if empty. The host localhost means 127.0.0.1 and ::1.
	Addr string
	// Packets, such as &udp.Server{} of handlers/udp, serves the same address over UDP in
	// ListenAndServe. If it is nil there is no UDP. It has its own MaxClients, Timeout and
	// MessageLimit: MaxConns and the bounds below do not apply to its clients.
	Packets handlers.PacketHandler
	// Hub receives the events. If it is nil they are dropped.
	Hub *Hub
	// HubOf, if not nil, returns the hub of a client, by what is known of it: its route, the name that
	// it asked for in TLS, the path of its request, which is nil for a raw client. For nil the client
	// belongs to Hub. HubOf must always return the same for the same client, as it is called several
	// times, by many goroutines at once, and must return soon. A panic refuses the client. Return one
	// of a few hubs: the server keeps each until it ends.
	HubOf func(h *Handshake) *Hub
	// TLSConfig has the certificates. The server clones it. If it is nil TLS is refused.
	TLSConfig *tls.Config
	// Pages answers HTTP requests whose method is not POST, PUT or OPTIONS; if it is nil they get
	// 405. Without a Hub, and with something mounted, a path without a handler gets 404.
	Pages http.Handler

	// RoomOf returns the room of a GET request that asks for a stream of messages: server-sent
	// events (Accept: text/event-stream, resumed by Last-Event-ID), which are a client of the hub,
	// or a long poll (?since=POSITION), which needs a room with History. If RoomOf is nil or ok is
	// false, the request is for a page like any other. RoomOf must have no effects, because it is
	// called more than once for a request: also for the Allow header, which lists the methods of a
	// path, and for the Vary header, which tells whether another Accept would get a stream.
	RoomOf func(r *http.Request) (room string, ok bool)

	// SniffTimeout bounds the time that a client takes to show its protocol, and the time of its
	// handshake; 2 seconds if zero, no bound if negative.
	SniffTimeout time.Duration
	// HandshakeTimeout bounds the time that the OnHandshake of a [Hub] takes for a client; 10
	// seconds if zero, no bound if negative. After that the client is refused with 503, close 1013,
	// or a line, even if OnHandshake has not returned.
	HandshakeTimeout time.Duration
	// MaxHandshakes bounds the calls of OnHandshake at one time; 16,384 if zero, no bound if
	// negative. Any more clients are refused at once, with 503, close 1013, or a line. A call counts
	// until it returns, also after HandshakeTimeout.
	MaxHandshakes int
	// HeaderTimeout bounds the time of the head of an HTTP/1 request, from the moment when it is
	// certain to be one; 10 seconds if zero, no bound if negative. A head that has begun and is not
	// complete by then gets 408.
	HeaderTimeout time.Duration
	// Timeout bounds the time in which a client neither sends nor receives a byte; 2 minutes if
	// zero, no bound if negative.
	Timeout time.Duration
	// ParkAfter is the idle time after which an HTTP/1 connection is parked: until its next request
	// it keeps only a descriptor, without a goroutine, and costs no more than a raw connection; 1
	// second if zero, never if negative, and at most an eighth of Timeout. Timeout starts again
	// when the connection is parked. It has no effect with Goroutines, and on systems other than
	// Linux.
	ParkAfter time.Duration
	// MaxInlineRequest is the size in bytes, head and body, up to which the loop itself answers the
	// POST and PUT requests of HTTP/1.1 that it understands wholly and that have come whole; 4 KiB
	// if zero, and never more; none if negative. net/http serves all others. It has no effect over
	// TLS, on Unix sockets, with Goroutines, and on systems other than Linux.
	MaxInlineRequest int
	// MessageTimeout bounds the time from the first byte of a message to its last; 2 minutes if
	// zero, no bound if negative. It applies to raw streams, to WebSocket, and to the bodies of
	// HTTP requests, which get 408. Between two messages of a body only Timeout applies.
	MessageTimeout time.Duration
	// PingInterval is the time after which a WebSocket client that sends nothing is pinged; 25
	// seconds if zero, never if negative. If it then neither sends nor receives a byte for as long
	// again, it ends with [handlers.ErrTimeout]. An event stream gets a comment after this time
	// without an event.
	PingInterval time.Duration
	// ProxyTimeout bounds the time that a connection from ProxyFrom takes for its PROXY header; 10
	// seconds if zero, no bound if negative. Nothing is served before the header is complete.
	// SniffTimeout begins after it.
	ProxyTimeout time.Duration
	// OnSilence serves a connection that has not sent a byte by SniffTimeout: it is for a protocol
	// whose server speaks first. If it is nil, the connection becomes a raw client of the hub, and
	// what it says later is still classified. With an OnUnmatched it is not connected before it has
	// said something, and may wait for that up to Timeout. [handlers.Refuse] closes it.
	// [handlers.HandlerFunc] makes a Handler of a func, here and for OnStall and OnUnmatched.
	OnSilence handlers.Handler
	// SpeakFirst are the addresses of clients that wait for the server to speak. OnSilence serves
	// them at once, and they reach no other protocol. Without OnSilence, SpeakFirst has no effect.
	SpeakFirst []netip.Prefix
	// OnStall serves a connection that is undecided at SniffTimeout although it has sent bytes:
	// they could still become a protocol of the server, or they are of no protocol and do not end a
	// line. From then on an undecided route of the program counts as No. If OnStall is nil, the
	// connection is closed; one that began a request gets 408. A connection whose ClientHello or
	// request head is not complete is always closed.
	OnStall handlers.Handler
	// OnUnmatched serves a connection that no route matches. If it is nil, the connection is a raw
	// client (upstream's rawFallback: true). [handlers.Refuse] closes it, after an OnError
	// (rawFallback: false).
	OnUnmatched handlers.Handler

	// MaxConns bounds the number of connections; no bound if zero or negative. Any more are closed.
	MaxConns int
	// MaxConnsPerIP bounds the number of connections from one address, or from one /64 of IPv6; no
	// bound if zero or negative. Behind a proxy of ProxyFrom the client's address counts.
	MaxConnsPerIP int
	// MaxSniffing bounds the number of connections that are not yet classified, or whose
	// ClientHello or request head is not complete; 16,384 if zero, no bound if negative. At the
	// bound the oldest is closed.
	MaxSniffing int
	// AllowRawHTTP accepts a raw client whose first line is a request line of HTTP. Without it the
	// server ends such a client before that line becomes a message: it may be a browser, and any
	// page can make a browser send messages in the body of a request.
	AllowRawHTTP bool
	// MessageLimit is the length in bytes of the longest message; 1 MiB if zero, no bound if
	// negative. A longer message ends its client: 413, close 1009, an error line. With MessageTail
	// a longer message of a raw or HTTP client loses its beginning instead, as in upstream.
	MessageLimit int
	MessageTail  bool
	// MaxPartial bounds the memory of unfinished messages, in bytes, for all clients of all
	// protocols together; 256 MiB if zero, no bound if negative. It counts lines, frames, fragments
	// and bodies that have not ended; compressed messages while they are inflated; first bytes that
	// are read, not peeked at; and heads of HTTP requests above 4 KiB, until the request is
	// answered, or until the WebSocket client ends. A client that needs more than is left ends with
	// [handlers.ErrOverload]: 503, close 1013, an error line. A client keeps the memory that it
	// holds, and no message is refused once its last byte was read. So the total may exceed the
	// bound by one read of 4 KiB for each client that holds memory.
	MaxPartial int64
	// CompressMin is the length in bytes of the shortest message that is compressed for WebSocket
	// clients that offer permessage-deflate; if it is zero or negative nothing is compressed. A
	// message to a room is compressed once for all members. [Writer.Write] and WriteString do not
	// compress: use them for a secret beside text that a stranger chooses.
	CompressMin int
	// KeepWindow lets WebSocket clients compress a message with the help of earlier ones. That
	// costs up to 32 KiB of MaxPartial for each client. Without it the server asks clients not to,
	// and the few that insist fail the connection. It matters only with CompressMin.
	KeepWindow bool
	// Protocols are the WebSocket subprotocols that the server speaks, the best first. The server
	// chooses the first one that the client offers. If there is none, it serves the client without
	// a subprotocol, and a browser that has asked for one fails the connection (RFC 6455, section
	// 4.1).
	Protocols []string
	// ExplicitDone keeps every HTTP response open until [Writer.Done].
	ExplicitDone bool
	// ProxyFrom are the addresses of proxies. A connection from one of them must begin with a PROXY
	// protocol header (v1 or v2), which has the client's address. From other addresses such a
	// header is refused. [ProxyUnix] stands for all clients of Unix sockets.
	ProxyFrom []netip.Prefix

	// Hosts are the names by which HTTP and WebSocket clients may ask for the server, besides
	// localhost, *.localhost, IP addresses and no name: app.example, without a port; *.app.example,
	// which includes app.example; or * for every name. A request for another name gets 421. If
	// Hosts is empty, only connections whose local address is loopback are checked: a stranger's
	// page whose name resolves to this machine (DNS rebinding) would look like our own there. Set
	// Hosts also if only a firewall keeps strangers from the server. A Unix socket accepts every
	// name.
	Hosts []string
	// AllowOrigin are the web origins whose pages may talk to the server: host or host:port,
	// without a scheme, in any case. A * stands for letters, digits, - and _; *.example.com is
	// example.com and everything below it; host:* is any port or none; * is every origin, also
	// null, file:// and others without a host. If both AllowOrigin and AllowOriginRegexp are unset,
	// only pages of the host and port that the request is for may talk to the server, whatever
	// their scheme: https where a proxy ends TLS, capacitor in an app. The exception is a request
	// over TLS, which a page of http may not send.
	AllowOrigin []string
	// AllowOriginRegexp allows the origins that it matches as a whole, without their scheme.
	AllowOriginRegexp *regexp.Regexp
	// RequireOrigin refuses HTTP and WebSocket clients that send no Origin: programs, not browsers.
	// It is upstream's allowUndefinedOrigin: false.
	RequireOrigin bool

	// Goroutines drives each connection with a goroutine of its own, as on systems other than
	// Linux. It is for comparison and for debugging: nothing else changes. On Linux a raw client that
	// was silent for SniffTimeout still has none.
	Goroutines bool

	// Logger logs what happens, and never what clients say: no first bytes, target or header, and
	// only the type of an error or a panic that may quote them. If both Logger and Log are nil,
	// nothing is logged. Any goroutine writes to it, also those that accept connections, so its
	// writer must not block.
	Logger *zerolog.Logger
	// Log receives the same lines instead of Logger, if it is not nil: for example a *slog.Logger.
	// Errors of handlers are logged even if the handler has an OnError. A node or server on a port
	// of its own logs here if its Log is this server.
	Log Logger
	// OnListening, if not nil, is called once for each listener and each socket of datagrams, before
	// the server accepts from it, with its address: where Addr has port 0, the port is known then.
	// A client that connects at once is served when OnListening has returned. OnListening must not
	// wait for Shutdown.
	OnListening func(net.Addr)
	// OnVerdict, if not nil, is called with the classification of each connection, before the
	// handler of its route, and of each client of datagrams, whose Route is its protocol. Many
	// goroutines call it at once; the connection waits for it.
	OnVerdict func(Verdict)

	routes     []*route                    // of Handle, in order
	listens    []*listener                 // of Listen and ListenALPN
	alpn       map[string]handlers.Handler // of HandleALPN
	mux        *http.ServeMux              // of Mount; nil without
	webSockets *http.ServeMux              // of MountWebSocket; nil without
	addrs      addrs

	closingOnce sync.Once // makes
	closing     chan struct{}

	logging sync.Once // makes
	log     *log

	serving atomic.Bool // the configuration is frozen
	once    sync.Once
	port    *port
	err     error // of start
}

// A Verdict says how a connection was classified.
type Verdict struct {
	// Route is "http", "h2c", "websocket", "tls", "proxy", "raw", "silent", "stalled", or a route of
	// the program.
	Route string
	Info  *Info
	// First holds the first bytes that the client has sent, 64 at most. It is valid during the
	// call. It may contain a secret of the user (Authorization, cookies, a token in a query, PASS):
	// do not log it or show it to others.
	First []byte
}

// A negative duration stays negative, so that it can be passed on to a field of a handler.
func (s *Server) sniffTimeout() time.Duration   { return cmp.Or(s.SniffTimeout, 2*time.Second) }
func (s *Server) proxyTimeout() time.Duration   { return cmp.Or(s.ProxyTimeout, 10*time.Second) }
func (s *Server) messageTimeout() time.Duration { return cmp.Or(s.MessageTimeout, 2*time.Minute) }
func (s *Server) pingInterval() time.Duration   { return cmp.Or(s.PingInterval, 25*time.Second) }
func (s *Server) timeout() time.Duration        { return cmp.Or(s.Timeout, 2*time.Minute) }
func (s *Server) messageLimit() int             { return cmp.Or(s.MessageLimit, 1<<20) }

func (s *Server) handshakeTimeout() time.Duration { return cmp.Or(s.HandshakeTimeout, 10*time.Second) }

func (s *Server) maxHandshakes() int { return atMost(s.MaxHandshakes, 16<<10) }

func (s *Server) maxSniffing() int { return atMost(s.MaxSniffing, 16<<10) }

// atMost returns the bound that a field means: def if it is zero, one out of reach if negative.
func atMost(field, def int) int {
	switch {
	case field == 0:
		return def
	case field < 0:
		return math.MaxInt
	}
	return field
}

// settleTimeout is how long a shutdown waits for handshakes.
func (s *Server) settleTimeout() time.Duration { return max(s.sniffTimeout(), time.Second) }

// farewellWindow returns the time over which a shutdown spreads its goodbyes to n clients, so that
// they do not all come back at once.
func farewellWindow(n int) time.Duration {
	return min(time.Duration(n)*100*time.Microsecond, time.Second)
}
