package portluck

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/httpd"
	"github.com/portluck/portluck/handlers/loop"
	"github.com/portluck/portluck/handlers/raw"
	"github.com/portluck/portluck/portluck/hub"
	"github.com/soheilhy/cmux"
)

// port is a running Server: its configuration is frozen. It is the [handlers.Port] that handlers
// get.
type port struct {
	srv     *Server
	hub     *Hub
	clients *hub.Binding // of hub
	log     *log
	loop    loop.Loop
	routes  []*route // in the order of matching; the last ones have no matcher
	foreign bool     // some matcher is code of the program
	named   named
	http    *httpd.Handler
	lines   *raw.Handler // of raw clients
	root    *root
	limits  limits
	budget  handlers.Budget
	parking parkings
	stats   counters
	heading heading // of new connections
	sniff   sniffer
	readers readers
	packets packets

	admissions admissions
	hubs       hubs

	// handshakes is cancelled, by giveUp, when handshakes are no longer waited for.
	handshakes context.Context
	giveUp     context.CancelCauseFunc

	draining atomic.Bool // serve the connections that the kernel holds before closing the listeners

	unknown atomic.Int64 // connections of announced clients that have not shown their protocol

	judging atomic.Int32  // matchers running now
	judged  atomic.Uint64 // matcher runs that have ended

	work    loop.Tasks // goroutines of handlers, of connections being read, and of callbacks
	funcs   loop.Tasks // of HandleFunc
	subs    loop.Tasks // cmux
	workers loop.Tasks // acceptRoute

	mu        sync.Mutex
	closing   bool
	closed    <-chan struct{} // with closing
	listeners []*acceptor
	accepting loop.Tasks // goroutines in Serve
}

// newPort returns a port with cmux and the routes' accept loops running. They end when root is
// closed and empty.
func newPort(s *Server) (*port, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	p := &port{
		srv: s, hub: s.Hub, log: s.lines(), root: newRoot(),
		closed: s.ShuttingDown(),
	}
	p.handshakes, p.giveUp = context.WithCancelCause(context.Background())
	if p.hub == nil {
		p.hub = &Hub{}
	}
	if s.Goroutines {
		p.loop.Driver = loop.Goroutines
	}
	p.budget.Max = s.MaxPartial
	p.loop.Budget = &p.budget
	p.loop.Panicked = func(err error) { p.log.panicked(nil, err) }
	p.clients = p.bind(p.hub)
	p.loop.Timeout = s.timeout()
	p.loop.MessageTimeout = s.messageTimeout()
	p.loop.PingInterval = s.pingInterval()
	p.loop.HandshakeTimeout = s.sniffTimeout()
	p.limits = limits{max: s.MaxConns, perIP: s.MaxConnsPerIP}
	p.build()
	if err := p.sniff.start(p); err != nil {
		return nil, err
	}
	mux := cmux.New(p.root)
	for _, r := range p.routes {
		r.sub = mux.MatchWithWriters(r.matchesCmux)
		p.staff(r)
	}
	p.subs.Go(func() { _ = mux.Serve() }) // ends when root is closed and empty
	return p, nil
}

var (
	_ loop.Host         = (*port)(nil)
	_ handlers.Admitter = (*port)(nil)
)

// broken ends a connection whose handler has panicked, and its client if there is one.
func (p *port) broken(c *conn, err error) {
	p.log.panicked(c.Info(), err)
	if session := c.attached(); session != nil {
		session.Kill(handlers.ErrPanic)
		return
	}
	p.drop(c, err)
}

// drop closes a connection that did not become a client.
func (p *port) drop(c *conn, err error) {
	c.Close()
	p.failed(c.Info(), err)
}

// failed logs err and calls OnError, in a goroutine of its own: the caller has other connections
// to serve.
func (p *port) failed(info *Info, err error) {
	p.log.panicked(info, err)
	p.log.Failed(info, err)
	if p.hub.OnError == nil && p.srv.HubOf == nil {
		return
	}
	p.Go(func() {
		b, _ := p.bindingOf(info)
		b.Fail(info, err)
	})
}

// Attach hands c to the loop; see [handlers.Port].
func (p *port) Attach(c handlers.Conn, a handlers.Attachment) {
	if pc, ok := c.(*conn); ok {
		pc.sniffing = nil
	}
	if info := cmp.Or(a.Info, c.Info()); !a.Admitted && p.Admits(info) {
		p.Go(func() { // ends with OnHandshake
			if run := p.start(c, a, p.askAbout(info, &a)); run != nil {
				go run() // ends with the connection; Shutdown waits for it
			}
		})
		return
	}
	run := p.start(c, a, nil)
	if pc, ok := c.(*conn); ok && pc.route.inline {
		pc.run = run
		return
	}
	if run != nil {
		go run() // ends with the connection; Shutdown waits for it
	}
}

// askAbout asks OnHandshake about the client of info and puts its login into a.
func (p *port) askAbout(info *Info, a *handlers.Attachment) error {
	h := &Handshake{Info: info}
	if err := p.Admit(context.Background(), h); err != nil {
		return err
	}
	own := *info
	own.Login = h.Login()
	a.Info = &own
	return nil
}

// start makes the loop drive c. If err is not nil the client is refused: the loop says farewell.
func (p *port) start(c handlers.Conn, a handlers.Attachment, err error) (run func()) {
	if err != nil {
		a.Handshake = false // it is over before it begins
	}
	lc, info := p.loop.New(c, a), cmp.Or(a.Info, c.Info())
	b, _ := p.bindingOf(info) // a client is refused if HubOf panics
	session := b.NewSession(info, lc)
	if pc, ok := c.(*conn); ok {
		pc.mu.Lock()
		pc.session = session
		pc.mu.Unlock()
	}
	if err != nil {
		return lc.Start(&refusedSession{session, err})
	}
	return lc.Start(session)
}

// refusedSession has the events of a connection whose client was refused: Disconnect raises
// OnError.
type refusedSession struct {
	*hub.Session
	err error
}

// Connect is [loop.Events.Connect].
func (s *refusedSession) Connect(*Info) error { return s.err }

// Connect announces a client that its handler drives itself; see [handlers.Port].
func (p *port) Connect(info *Info, s handlers.Stream) (handlers.Client, error) {
	ctx, header := context.Background(), http.Header(nil)
	if info.Request != nil {
		ctx = info.Request.Context()
	}
	if r, ok := s.(handlers.Response); ok && p.Admits(info) {
		header = r.Header()
	}
	info, err := p.admitted(ctx, info, header)
	if err != nil {
		return nil, err
	}
	b, err := p.bindingOf(info)
	if err != nil {
		return nil, err
	}
	return b.Connect(info, s)
}

// Fail reports a connection or request that did not become a client; see [handlers.Port].
func (p *port) Fail(info *Info, err error) {
	if errors.Is(err, ErrStalled) {
		p.stats.stalled.Add(1)
	}
	p.failed(info, err)
}

// Loop is [loop.Host.Loop]. Connections on it end with the port and have the bounds of the port.
func (p *port) Loop() *loop.Loop { return &p.loop }

// Go runs f in a goroutine that Shutdown waits for. A panic in it is logged and ends f only.
func (p *port) Go(f func()) { p.run(&p.work, nil, f) }

// run is Go for the tasks t. info describes the connection that f serves; it is nil if there is
// none.
func (p *port) run(t *loop.Tasks, info *Info, f func()) {
	logged := func(err error) { p.log.panicked(info, err) }
	t.Go(func() { logged(handlers.GuardExit(f, logged)) })
}

// Route classifies an inner layer, such as the content of TLS; see [handlers.Port]. There is no
// descriptor to peek at, so the first bytes are read, and the connection that the handler gets
// replays them.
func (p *port) Route(c handlers.Conn) {
	nc, err := c.NetConn()
	if err != nil {
		c.Close()
		p.Fail(c.Info(), err)
		return
	}
	inner := newReplayed(p, nc, *c.Info())
	inner.outer = c
	p.Go(func() { p.sniffReader(inner) })
}

// LogError is [handlers.ErrorLogger.LogError].
func (p *port) LogError(info *Info, err error) { p.log.LogError(info, err) }

// ShuttingDown is closed when the server begins to shut down; see [handlers.ShutdownNotifier].
func (p *port) ShuttingDown() <-chan struct{} { return p.closed }

// HandshakeContext is [handlers.Handshaker.HandshakeContext].
func (p *port) HandshakeContext() context.Context { return p.handshakes }

// isClosed reports whether err only means that we closed something ourselves.
func isClosed(err error) bool {
	return errors.Is(err, net.ErrClosed) || errors.Is(err, cmux.ErrServerClosed) || errors.Is(err, cmux.ErrListenerClosed)
}
