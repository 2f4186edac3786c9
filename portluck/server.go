package portluck

import (
	"cmp"
	"crypto/tls"
	"errors"
	"math"
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
// The fields are set before Serve and not changed after. A duration that is zero means its default,
// a negative one that there is no such bound.
type Server struct {
	// Addr is the TCP address that ListenAndServe listens on: host:port, or unix:PATH.
	// [DefaultAddr] if empty. The host localhost means 127.0.0.1 and ::1.
	Addr string
	// Packets serves the same address over UDP in ListenAndServe, such as &udp.Server{} of
	// handlers/udp; nobody if nil. It bounds its own clients: they do not count for MaxConns, and
	// Timeout and MessageLimit are its own too.
	Packets handlers.PacketHandler
	// Hub gets the events; a new one that drops them if nil.
	Hub *Hub
	// TLSConfig has the certificates; nil refuses TLS. It is cloned.
	TLSConfig *tls.Config
	// Pages answers the HTTP requests whose method is not POST, PUT or OPTIONS; 405 if nil. Without
	// a Hub, and with something mounted, what has no handler is 404.
	Pages http.Handler

	// RoomOf says to which room a GET request belongs that asks for a stream of messages:
	// server-sent events (Accept: text/event-stream, resumed by Last-Event-ID), which are a client
	// of the hub, or a long poll (?since=POSITION), for which the room must have History. It is a
	// page like any other if RoomOf is nil or ok is false. RoomOf is asked more than once for a
	// request, also to name the methods that its path has (Allow), and whether another Accept would
	// get a stream (Vary): it must have no effects.
	RoomOf func(r *http.Request) (room string, ok bool)

	// SniffTimeout is how long a client may take to show its protocol, and to shake hands; 2
	// seconds if zero, no bound if negative.
	SniffTimeout time.Duration
	// HeaderTimeout is how long the head of an HTTP/1 request may take, of any method, from when it
	// is certain that it is one; 10 seconds if zero, no bound if negative. One that has begun and
	// does not become whole is answered with 408.
	HeaderTimeout time.Duration
	// Timeout is how long a client may be idle, neither sending nor being sent a byte; 2 minutes if
	// zero, no bound if negative.
	Timeout time.Duration
	// MessageTimeout is how long a message may take from its first byte to its last; 2 minutes if
	// zero, no bound if negative. It is for raw streams, WebSocket and the bodies of HTTP requests,
	// which are answered with 408: between two messages a body has Timeout only.
	MessageTimeout time.Duration
	// PingInterval is how long a WebSocket client may send nothing until it is pinged; 25 seconds
	// if zero, never if negative. One that then sends nothing, and is sent nothing, for as long
	// again is lost: it ends with [handlers.ErrTimeout]. So Timeout ends only those that do not
	// answer. To event streams a comment is sent after this time without an event.
	PingInterval time.Duration
	// ProxyTimeout is how long a connection from ProxyFrom may take for its PROXY header; 10
	// seconds if zero, no bound if negative. Nothing is served before the header is whole, and
	// SniffTimeout begins after it.
	ProxyTimeout time.Duration
	// OnSilence serves a connection that has not sent one byte by SniffTimeout: a handler of a
	// protocol whose server speaks first. If nil, the connection becomes a raw client of the hub,
	// but whatever it says later is still classified, and when raw is refused it just waits, for
	// Timeout at the most. [handlers.Refuse] closes it. A func becomes a Handler by
	// [handlers.HandlerFunc], as for OnStall and OnUnmatched.
	OnSilence handlers.Handler
	// SpeakFirst are the addresses of clients that are known to wait for the server to speak:
	// OnSilence serves them at once, whatever they may send, and they reach no other protocol. It
	// has no say if OnSilence is nil.
	SpeakFirst []netip.Prefix
	// OnStall serves a connection whose bytes by SniffTimeout may still become one of the protocols
	// of the server, or are of none and have no end of a line: a route of the program that is
	// undecided by then is passed over. If nil it is closed, HTTP with a 408. So is one whose
	// ClientHello or request head does not become whole, whatever OnStall is.
	OnStall handlers.Handler
	// OnUnmatched serves a connection that no route knows; as raw lines if nil (upstream's
	// rawFallback: true). [handlers.Refuse] closes it (rawFallback: false), after an OnError.
	OnUnmatched handlers.Handler

	// MaxConns bounds the connections of all clients; no bound if zero or negative. A surplus one
	// is closed.
	MaxConns int
	// MaxConnsPerIP bounds the connections of one address (of one /64 in IPv6), behind a proxy of
	// ProxyFrom too; no bound if zero or negative.
	MaxConnsPerIP int
	// MaxSniffing bounds the connections whose protocol is not known, or whose ClientHello or
	// request head is not whole; the oldest is closed first. 16,384 if zero, no bound if negative.
	MaxSniffing int
	// AllowRawHTTP lets a raw client go on whose first line is a request line of HTTP. Without it
	// such a client is ended before that line is a message: it may be a browser, which any page can
	// make send messages in the body of a request.
	AllowRawHTTP bool
	// MessageLimit is the longest message in bytes; 1 MiB if zero, none if negative. A longer one
	// costs the client its connection: 413, close 1009, an error line. With MessageTail a raw or
	// HTTP client's longer message loses its beginning instead, as upstream has it.
	MessageLimit int
	MessageTail  bool
	// MaxPartial bounds the memory that unfinished messages take, in bytes, for all clients of
	// every protocol together: lines, frames, fragments and bodies that have not ended, compressed
	// messages while they are inflated, the first bytes of a connection where they are read to
	// classify it, and the heads of HTTP requests of more than 4 KiB, until they are answered; that
	// of a WebSocket client, which keeps it, until the client ends. 256 MiB if zero, no bound if
	// negative. A client that needs more than is left is ended with
	// [handlers.ErrOverload]: 503, close 1013, an error line. Those that hold memory keep it, and a
	// message whose last byte was read is never refused: so one more read of 4 KiB may stand above
	// the bound for a client that holds memory.
	MaxPartial int64
	// CompressMin is how long a message must be, in bytes, to be compressed for WebSocket clients
	// that offer it (permessage-deflate); none is if zero or negative. A message to a room is
	// compressed once for all. What [Writer.Write] and WriteString send is not compressed: use them
	// for a secret that stands beside a stranger's text.
	CompressMin int
	// KeepWindow lets WebSocket clients compress a message with what they sent in earlier ones,
	// which costs up to 32 KiB for each of them, of MaxPartial. Without it they are asked not to,
	// and the few that insist on it fail the connection. It matters only with CompressMin.
	KeepWindow bool
	// Protocols are the subprotocols of WebSocket that the server speaks, the best first. The first
	// that a client offers too is chosen; without one the client is served without a subprotocol,
	// and a browser that has asked for one then fails the connection (RFC 6455, section 4.1).
	Protocols []string
	// ExplicitDone keeps every HTTP response open until [Writer.Done].
	ExplicitDone bool
	// ProxyFrom are the addresses of proxies: their connections must begin with a PROXY protocol
	// header (v1 or v2), which tells the client's address. From others such a header is refused.
	// [ProxyUnix] among them is every client of a Unix socket.
	ProxyFrom []netip.Prefix

	// Hosts are the names by which clients may ask for the server, over HTTP and WebSocket, besides
	// localhost, *.localhost, IP addresses and none: app.example, without a port; *.app.example,
	// which is app.example too; * for every name. A request for another name is answered with 421.
	// Without any, every name will do but on connections whose local address is loopback, also
	// those of a listener on all addresses: what a page of a stranger asks for there, whose name
	// resolves to this machine (DNS rebinding), looks like our own page's. Name the server also
	// where only a firewall keeps strangers off. A Unix socket takes every name.
	Hosts []string
	// AllowOrigin are the web origins whose pages may talk to the server: host or host:port without
	// a scheme, in any case; a * stands for letters, digits, - and _; *.example.com is example.com
	// and everything below it; host:* is any port or none; * is every origin, also null, file://
	// and others without a host. With neither AllowOrigin nor AllowOriginRegexp only pages of the
	// host and port that they ask may, whatever their scheme: https where a proxy has taken TLS
	// off, capacitor in an app. A page over http may not where the server has TLS.
	AllowOrigin []string
	// AllowOriginRegexp allows the origins, without their scheme, that it matches as a whole.
	AllowOriginRegexp *regexp.Regexp
	// RequireOrigin refuses clients of HTTP and WebSocket that send no Origin: programs, not
	// browsers. It is upstream's allowUndefinedOrigin: false.
	RequireOrigin bool

	// Goroutines drives every connection with a goroutine of its own, as on systems other than
	// Linux. It is for comparison and for debugging: nothing else changes.
	Goroutines bool

	// Logger gets what happens, never what clients say: no first bytes, no target, no header, and
	// of an error or a panic that may quote them only its type. Nothing is logged if nil. Any
	// goroutine writes to it, those that accept connections too: its writer must not block, or
	// everybody waits.
	Logger *zerolog.Logger
	// Log takes the same lines in place of Logger, such as a *slog.Logger; Logger does if nil.
	// Errors of handlers are logged whether their OnError is told too or not; those of nodes and
	// servers on ports of their own if their Log is this server.
	Log Logger
	// OnVerdict, if not nil, is told how each connection was classified, and of each client of
	// datagrams, whose Route is its protocol. It is called by many goroutines at once, before the
	// handler of the route; the connection waits for it.
	OnVerdict func(Verdict)

	routes  []*route                    // of Handle, in order
	listens []*listener                 // of Listen
	alpn    map[string]handlers.Handler // of HandleALPN
	mux     *http.ServeMux              // of Mount; nil without

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
	Route string // "http", "h2c", "websocket", "tls", "proxy", "raw", "silent", "stalled", or a route of the program's
	Info  *Info
	// First is what had come by then, 64 bytes at the most; valid during the call. It is what the
	// client says, and may be a secret of its user (Authorization, cookies, a token in a query,
	// PASS): do not log it, nor show it to others.
	First []byte
}

// A duration that a field means is negative if there is no bound, so that it may be passed on to a
// handler's own field.
func (s *Server) sniffTimeout() time.Duration   { return cmp.Or(s.SniffTimeout, 2*time.Second) }
func (s *Server) proxyTimeout() time.Duration   { return cmp.Or(s.ProxyTimeout, 10*time.Second) }
func (s *Server) messageTimeout() time.Duration { return cmp.Or(s.MessageTimeout, 2*time.Minute) }
func (s *Server) pingInterval() time.Duration   { return cmp.Or(s.PingInterval, 25*time.Second) }
func (s *Server) timeout() time.Duration        { return cmp.Or(s.Timeout, 2*time.Minute) }
func (s *Server) messageLimit() int             { return cmp.Or(s.MessageLimit, 1<<20) }

func (s *Server) maxSniffing() int {
	switch {
	case s.MaxSniffing == 0:
		return 16 << 10
	case s.MaxSniffing < 0:
		return math.MaxInt
	}
	return s.MaxSniffing
}

// settleTimeout is how long a shutdown waits for handshakes.
func (s *Server) settleTimeout() time.Duration { return max(s.sniffTimeout(), time.Second) }

// farewellWindow is over how long the goodbyes of n clients are spread, so that they do not all
// come back at once.
func farewellWindow(n int) time.Duration {
	return min(time.Duration(n)*100*time.Microsecond, time.Second)
}
