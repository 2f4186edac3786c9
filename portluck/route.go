package portluck

import (
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"reflect"
	"slices"
	"sync/atomic"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/httpd"
	"github.com/portluck/portluck/handlers/raw"
	"github.com/portluck/portluck/handlers/tlsd"
	"github.com/portluck/portluck/handlers/websocket"
	"github.com/portluck/portluck/matchers"
)

// The names of the built-in routes, as [Verdict] and [Stats] give them.
const (
	RouteProxy     = "proxy" // a PROXY header from an address that is not in ProxyFrom: refused
	RouteTLS       = "tls"
	RouteH2C       = "h2c"
	RouteWebSocket = "websocket"
	RouteHTTP      = "http"
	RouteRaw       = "raw"     // no matcher said Yes: served by OnUnmatched
	RouteSilent    = "silent"  // no byte by SniffTimeout: served by OnSilence
	RouteStalled   = "stalled" // undecided by SniffTimeout: served by OnStall
)

// route pairs a matcher with the handler of the connections that it matches.
type route struct {
	name    string
	matcher matchers.Matcher // nil: the route is reached by name only
	handler handlers.Handler
	own     bool     // the program's
	outer   bool     // not asked inside TLS
	inline  bool     // Serve calls Attach before it returns
	opening *opening // what must have come before the handler is called; nil for nothing
	// plain reports whether the handler fully understands an opening. Others go to otherwise. If
	// plain is nil, the handler understands every opening.
	plain     func(info *Info, b []byte) bool
	otherwise *route
	count     atomic.Uint64

	sub  net.Listener // cmux's
	idle atomic.Int32 // goroutines in sub.Accept
}

// named holds the routes that no matcher leads to. The route request stands for a connection that
// certainly speaks HTTP/1 and whose head will show which route it belongs to.
type named struct{ unmatched, silent, stalled, request *route }

// matchesCmux is the route's matcher for cmux: it compares r with the verdict that the port has
// reached.
func (r *route) matchesCmux(w io.Writer, _ io.Reader) bool { return w.(*conn).route == r }

// Handle routes the connections that m matches to h. The routes are asked in the order of the
// calls, before the built-in ones. They are also asked inside TLS, for clients that offer no ALPN;
// a client that chooses a protocol by ALPN reaches the handler of that protocol, see HandleALPN,
// whatever m says. name identifies the route in [Verdict] and [Stats], and is the Protocol and the
// Scheme of its clients unless h is a handler of a protocol that has a name.
//
// Handle panics after Serve, if m or h is nil or a nil pointer, and if name is empty or names
// another route.
func (s *Server) Handle(name string, m matchers.Matcher, h handlers.Handler) {
	s.checkRoute("Handle", name, m, handlers.IsNil(h))
	s.route(name, m, h)
}

func (s *Server) route(name string, m matchers.Matcher, h handlers.Handler) {
	s.routes = append(s.routes, &route{name: name, matcher: m, handler: h, own: true})
}

// HandleFunc routes the connections that m matches to f. f runs in a goroutine of its own and owns
// the connection, which is a *net.TCPConn, a *net.UnixConn or a *tls.Conn. If first bytes were
// read to classify it, as they are inside TLS, it is a type that replays them and embeds the
// *tls.Conn: look for the methods (ConnectionState, NetConn, CloseWrite), not for the type. The
// connection is closed when f returns.
//
// Shutdown waits for f. A func that does not end by itself should watch [Server.ShuttingDown] and
// return. Close, and the end of the ctx of Shutdown, close the connection under f.
func (s *Server) HandleFunc(name string, m matchers.Matcher, f func(c net.Conn)) {
	s.checkRoute("HandleFunc", name, m, f == nil)
	s.route(name, m, handlers.HandlerFunc(func(c handlers.Conn, p handlers.Port) {
		p.(*port).run(&p.(*port).funcs, c.Info(), func() {
			defer c.Close()
			nc, err := c.NetConn()
			if err != nil {
				p.Fail(c.Info(), err)
				return
			}
			f(nc)
		})
	}))
}

// HandleALPN routes the TLS clients that choose the protocol id to h, which gets the *tls.Conn.
// The server handles "h2" and "http/1.1" itself unless they are set here. HandleALPN panics after
// Serve, if h is nil, if id is empty or longer than 255 bytes (RFC 7301, section 3.1), and if id
// has a handler already.
func (s *Server) HandleALPN(id string, h handlers.Handler) { s.handleALPN("HandleALPN", id, h) }

// handleALPN is HandleALPN for the method call, which messages name.
func (s *Server) handleALPN(call, id string, h handlers.Handler) {
	if s.serving.Load() {
		panic("portluck: " + call + " after Serve: the protocols are frozen; make them first")
	}
	switch {
	case handlers.IsNil(h):
		panic(fmt.Sprintf("portluck: %s(%q): the handler is nil", call, id))
	case len(id) == 0 || len(id) > 255:
		panic(fmt.Sprintf("portluck: %s(%q): a protocol has 1 to 255 bytes", call, id))
	case s.alpn[id] != nil:
		panic(fmt.Sprintf("portluck: %s(%q): there is a handler for it", call, id))
	case s.alpn == nil:
		s.alpn = map[string]handlers.Handler{}
	}
	s.alpn[id] = h
}

// build makes the routes from the server's fields.
func (p *port) build() {
	s := p.srv
	p.lines = &raw.Handler{Limit: s.messageLimit(), Tail: s.MessageTail, AllowHTTP: s.AllowRawHTTP}
	check := s.checkOrigin()
	ws := &websocket.Handler{
		Hosts: s.Hosts, CheckOrigin: check, Limit: s.messageLimit(), CompressMin: s.CompressMin, Protocols: s.Protocols,
		KeepWindow: s.KeepWindow,
	}
	p.http = &httpd.Handler{
		Hosts: s.Hosts, Pages: s.Pages, Mux: s.mux, WebSockets: s.webSockets, CheckOrigin: check, Upgrade: ws.Upgrade, Limit: s.messageLimit(), Tail: s.MessageTail,
		ExplicitDone: s.ExplicitDone, IdleTimeout: s.timeout(), FirstTimeout: s.sniffTimeout(), HeaderTimeout: s.HeaderTimeout, MessageTimeout: s.messageTimeout(), Budget: &p.budget,
	}
	p.http.Parker, p.http.ParkAfter, p.http.MaxInline = p.parker(), s.ParkAfter, s.MaxInlineRequest
	if p.asks() {
		p.http.MaxInline = -1 // OnHandshake may block, so the loop leaves the requests to net/http
	}
	if s.RoomOf != nil {
		p.http.Streams = p.streams
	}
	if s.Hub == nil && s.HubOf == nil && s.mux != nil {
		p.http.Claim, p.http.Pages = isMessage, notFound(s.Pages)
		if s.Pages == nil {
			p.http.Claim = func(*http.Request) bool { return true }
		}
	}
	web := &route{name: RouteHTTP, matcher: matchers.HTTP1(), handler: p.http.HTTP1(), opening: headOpening}
	p.routes = append(p.routes, s.routes...)
	p.foreign = slices.ContainsFunc(s.routes, func(r *route) bool { return isForeign(r.matcher) })
	p.routes = append(p.routes,
		&route{name: RouteProxy, matcher: matchers.PROXY(), handler: handlers.HandlerFunc(refuseProxy), outer: true},
		// Whatever begins like TLS goes to TLS, which answers a malformed ClientHello with an
		// alert: never to raw.
		&route{name: RouteTLS, matcher: matchers.Prefix("\x16\x03"), handler: p.tls(), outer: true, opening: p.helloOpening()},
		&route{name: RouteH2C, matcher: matchers.HTTP2(), handler: p.http},
		&route{
			name: RouteWebSocket, matcher: matchers.WebSocket(), handler: ws, inline: true, opening: headOpening,
			plain: p.isPlain, otherwise: web,
		},
		&route{
			name: RouteHTTP, matcher: matchers.HTTP1(), handler: handlers.HandlerFunc(p.serveLane), outer: true, inline: true,
			opening: headOpening, plain: p.inLane, otherwise: web,
		},
		web)
	p.named = named{
		unmatched: &route{name: RouteRaw, handler: p.raw(), inline: s.OnUnmatched == nil},
		silent:    &route{name: RouteSilent, handler: s.OnSilence},
		stalled:   &route{name: RouteStalled, handler: s.OnStall},
		request:   &route{name: RouteHTTP, opening: headOpening},
	}
	p.routes = append(p.routes, p.named.unmatched, p.named.silent, p.named.stalled)
}

// isPlain reports whether the loop may read the WebSocket handshake b. net/http reads it if the
// program is asked about it.
func (p *port) isPlain(_ *Info, b []byte) bool { return !p.asks() && p.srv.isHubWebSocket(b) }

// isForeign reports whether code of the program runs in m: it is none of package matchers, or one
// that calls others.
func isForeign(m matchers.Matcher) bool {
	t := reflect.TypeOf(m)
	return t.PkgPath() != reflect.TypeFor[matchers.Hello]().PkgPath() || t == reflect.TypeFor[matchers.MatcherFunc]()
}

// isMessage reports whether r is a message of a client to the hub.
func isMessage(r *http.Request) bool {
	return r.Method == http.MethodPost || r.Method == http.MethodPut
}

// notFound answers what was not mounted where there is no hub: pages has the rest, if there are
// any.
func notFound(pages http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if pages == nil || isMessage(r) {
			http.NotFound(w, r)
			return
		}
		pages.ServeHTTP(w, r)
	})
}

func (p *port) raw() handlers.Handler {
	switch h := p.srv.OnUnmatched; h {
	case nil:
		return p.lines
	case handlers.Refuse:
		return handlers.HandlerFunc(refuseUnknown)
	default:
		return h
	}
}

func (p *port) tls() handlers.Handler {
	if p.srv.TLSConfig == nil {
		return handlers.HandlerFunc(refuseTLS)
	}
	alpn := map[string]handlers.Handler{"h2": p.http, "http/1.1": p.http}
	maps.Copy(alpn, p.srv.alpn)
	return &tlsd.Handler{Config: p.srv.TLSConfig, ALPN: alpn, HandshakeTimeout: p.srv.sniffTimeout()}
}

// helloOpening returns the opening of the TLS route, or nil if the route refuses every client.
func (p *port) helloOpening() *opening {
	if p.srv.TLSConfig == nil {
		return nil
	}
	return helloOpening
}

func refuseUnknown(c handlers.Conn, p handlers.Port) { refuse(c, p, ErrUnmatched) }
func refuseTLS(c handlers.Conn, p handlers.Port)     { refuse(c, p, ErrNoTLS) }
func refuseProxy(c handlers.Conn, p handlers.Port)   { refuse(c, p, ErrProxy) }

// refuse closes a connection without a reset and reports err.
func refuse(c handlers.Conn, p handlers.Port, err error) {
	if pc, ok := c.(*conn); ok {
		pc.sayFarewell()
	}
	c.Close()
	p.Fail(c.Info(), err)
}

// classify returns the first route that matches h. While an earlier route is undecided it returns
// nil and the total number of bytes needed. With late, routes of the program that are undecided
// are passed over: their time is up. Inside TLS the outer routes are left out.
func (p *port) classify(h matchers.Hello, late bool) (r *route, need int) {
	for i, r := range p.routes {
		if r.matcher == nil || r.outer && h.TLS != nil {
			continue
		}
		switch v := r.matcher.Match(h); {
		case v == matchers.Yes:
			return r, 0
		case v != matchers.No && !(late && i < len(p.srv.routes)):
			return nil, max(v.Needed(), len(h.Bytes)+1)
		}
	}
	return p.named.unmatched, 0
}
