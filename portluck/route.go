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
	RouteRaw       = "raw"     // no matcher said Yes: OnUnmatched
	RouteSilent    = "silent"  // not one byte by SniffTimeout: OnSilence
	RouteStalled   = "stalled" // undecided by SniffTimeout: OnStall
)

// route is a matcher and the handler of what it matches.
type route struct {
	name    string
	matcher matchers.Matcher // nil: the route is reached by name only
	handler handlers.Handler
	outer   bool     // not asked inside TLS
	inline  bool     // Serve attaches, before it returns
	opening *opening // what its handler waits for first; nil if it does not
	// plain reports whether the handler understands an opening wholly. One that it does not is for
	// otherwise. Nil: it does.
	plain     func(b []byte) bool
	otherwise *route
	count     atomic.Uint64

	sub  net.Listener // cmux's
	idle atomic.Int32 // goroutines in sub.Accept
}

// named are the routes that are not reached by a matcher. A request is of none yet: it is one of
// HTTP/1 for certain, and its head tells whose.
type named struct{ unmatched, silent, stalled, request *route }

// matchesCmux is the route's matcher for cmux: the verdict is known.
func (r *route) matchesCmux(w io.Writer, _ io.Reader) bool { return w.(*conn).route == r }

// Handle routes the connections that m matches to h. The routes are asked in the order of the
// calls, before the built-in ones, also inside TLS for clients that offer no ALPN: those that
// choose a protocol there reach it, or HandleALPN's, whatever m says. name is for [Verdict] and
// [Stats]. It panics after Serve, if m or h is nil, or a nil pointer, and if name is empty or that
// of another route.
func (s *Server) Handle(name string, m matchers.Matcher, h handlers.Handler) {
	s.checkRoute("Handle", name, m, handlers.IsNil(h))
	s.route(name, m, h)
}

func (s *Server) route(name string, m matchers.Matcher, h handlers.Handler) {
	s.routes = append(s.routes, &route{name: name, matcher: m, handler: h})
}

// HandleFunc routes the connections that m matches to f, which runs in a goroutine of its own and
// owns the connection: a *net.TCPConn, a *net.UnixConn or a *tls.Conn. Where first bytes were read
// to classify it, which is so inside TLS, it is a type that gives them back and embeds the
// *tls.Conn: look for its methods (ConnectionState, NetConn, CloseWrite), not for the type. It is
// closed when f returns.
//
// Shutdown waits for f: one that does not end by itself watches [Server.ShuttingDown] and returns.
// When the ctx of Shutdown ends first, and at Close, c is closed under it.
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

// HandleALPN routes the TLS clients that choose this protocol id to h, with the *tls.Conn as it is.
// "h2" and "http/1.1" are the server's own unless they are set here. It panics after Serve, if h is
// nil, if id is none (RFC 7301, section 3.1), and if it has a handler.
func (s *Server) HandleALPN(id string, h handlers.Handler) {
	if s.serving.Load() {
		panic("portluck: HandleALPN after Serve: the protocols are frozen; make them first")
	}
	switch {
	case handlers.IsNil(h):
		panic(fmt.Sprintf("portluck: HandleALPN(%q): the handler is nil", id))
	case len(id) == 0 || len(id) > 255:
		panic(fmt.Sprintf("portluck: HandleALPN(%q): a protocol has 1 to 255 bytes", id))
	case s.alpn[id] != nil:
		panic(fmt.Sprintf("portluck: HandleALPN(%q): there is a handler for it", id))
	case s.alpn == nil:
		s.alpn = map[string]handlers.Handler{}
	}
	s.alpn[id] = h
}

// Mount has h answer the HTTP requests of pattern, which is one of [http.ServeMux], over HTTP/1.1,
// h2 and TLS: of every method, unless pattern names one, and also POST and PUT, which are no
// clients of the hub then. A page of another origin may not send them, unless AllowOrigin lets it;
// Shutdown waits for those that have begun. A WebSocket handshake is a client of the hub also
// there.
//
// The context of a request is not done when its client has ended its half of the connection: it may
// wait for the answer ([httpd.Ended] tells of that). It is done when the connection breaks. That of
// a client that has gone breaks when something is written, or when the kernel asks, after 75
// seconds on Linux.
//
// Mount panics after Serve, if h is nil, and if pattern is malformed or conflicts with an earlier
// one.
func (s *Server) Mount(pattern string, h http.Handler) {
	if s.serving.Load() {
		panic("portluck: Mount after Serve: the patterns are frozen; mount them first")
	}
	if handlers.IsNil(h) {
		panic(fmt.Sprintf("portluck: Mount(%q): nil handler", pattern))
	}
	if s.mux == nil {
		s.mux = http.NewServeMux()
	}
	s.mux.Handle(pattern, h)
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
		Hosts: s.Hosts, Pages: s.Pages, Mux: s.mux, CheckOrigin: check, Upgrade: ws.Upgrade, Limit: s.messageLimit(), Tail: s.MessageTail,
		ExplicitDone: s.ExplicitDone, IdleTimeout: s.timeout(), FirstTimeout: s.sniffTimeout(), HeaderTimeout: s.HeaderTimeout, MessageTimeout: s.messageTimeout(), Budget: &p.budget,
	}
	if s.RoomOf != nil {
		p.http.Streams = p.streams
	}
	if s.Hub == nil && s.mux != nil {
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
			plain: websocket.IsPlain, otherwise: web,
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

// helloOpening is what the route of TLS waits for: nothing if it refuses everybody.
func (p *port) helloOpening() *opening {
	if p.srv.TLSConfig == nil {
		return nil
	}
	return helloOpening
}

func refuseUnknown(c handlers.Conn, p handlers.Port) { refuse(c, p, ErrUnmatched) }
func refuseTLS(c handlers.Conn, p handlers.Port)     { refuse(c, p, ErrNoTLS) }
func refuseProxy(c handlers.Conn, p handlers.Port)   { refuse(c, p, ErrProxy) }

// refuse closes a connection without a reset, and reports it.
func refuse(c handlers.Conn, p handlers.Port, err error) {
	if pc, ok := c.(*conn); ok {
		pc.sayFarewell()
	}
	c.Close()
	p.Fail(c.Info(), err)
}

// classify asks the routes in order. The result is nil, and the number of bytes in all that are
// needed, while an earlier route than the one that would win is undecided. With late an undecided
// route of the program has had its time, and is passed over. Inside TLS some routes are left out.
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
