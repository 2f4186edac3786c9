package httpd

import (
	"io"
	"net"
	"net/http"
	"sync"

	"github.com/portluck/portluck/handlers"
)

// A lane serves the POST and PUT requests of one HTTP/1.1 connection that it understands wholly,
// without net/http and without a goroutine. It does no I/O: it gets bytes, and appends the bytes of
// the answers. It serves them with the same code as [Handler.Serve], and leaves all other requests,
// unread, to net/http.
type lane struct {
	handler *Handler
	conn    httpConn
	nc      laneConn // of conn
	client  LaneConn
	first   laneExchange   // the first request
	away    *exchangeState // the last request, which net/http goes on with
	served  bool           // a request was served
	posted  bool           // the last one was a POST

	mu     sync.Mutex
	out    []byte       // answers that the client has not got yet
	ctx    *laneContext // of the request that is being served
	asked  bool         // the program wants to know when the client leaves
	delay  delay        // ends with tooLate
	peer   net.Conn     // is watched; nil without
	over   bool         // no request is served any more
	broken bool         // the connection has ended
}

// A LaneConn is a connection during the requests of its lane. NetConn is not called, and Close
// closes it at once. Several goroutines may call its methods at once.
type LaneConn interface {
	handlers.Conn
	// Write sends p at once.
	io.Writer
	// Dup returns a duplicate of the connection, to see when the client leaves.
	Dup() (net.Conn, error)
}

// Lane reports whether b begins with a request that [Idle.Serve] serves.
func (h *Handler) Lane(b []byte) bool {
	var x laneExchange
	return x.parse(b, h.maxInline()) > 0 && h.isInline(&x.request)
}

// isInline reports whether r becomes a client of the hub. It does not call the program's
// CheckOrigin, which is called once for each request.
func (h *Handler) isInline(r *http.Request) bool {
	return !h.isMounted(r) && (h.Pages == nil || h.Claim == nil)
}

// NewIdle returns the Idle of a connection that has had no request yet.
func (h *Handler) NewIdle() *Idle {
	h.start()
	h.conns.parked.Add(1)
	return &Idle{handler: h}
}

// Serve serves the requests at the beginning of in that are the lane's. It appends the answers to
// dst, or writes those that are not plain to c, and returns how many bytes of in it has taken. open
// is false if the connection must be closed, after what is in dst was sent.
func (i *Idle) Serve(dst, in []byte, c LaneConn, p handlers.Port) (_ []byte, n int, open bool) {
	if i.seen > 0 || !hasLaneMethod(in) {
		return dst, 0, true
	}
	s := newLane(i.handler, c, p)
	defer s.end() // also if a callback ends the goroutine
	dst, n, open = s.serve(dst, in)
	i.posted, i.exchange = i.posted && !s.served || s.posted, s.away
	return dst, n, open
}

func newLane(h *Handler, c LaneConn, p handlers.Port) *lane {
	s := &lane{handler: h, client: c}
	s.nc.lane = s
	s.conn.init(c, p, &s.nc)
	s.conn.lane = s
	return s
}

// laneConn is the net.Conn of a connection of the lane.
type laneConn struct {
	net.Conn // nil
	lane     *lane
}

// Close closes the connection at once. The client still gets the answers to the requests before.
func (c *laneConn) Close() error {
	c.lane.send()
	defer c.lane.breaks()
	return c.lane.client.Close()
}

// LocalAddr is [net.Conn.LocalAddr].
func (c *laneConn) LocalAddr() net.Addr {
	return net.TCPAddrFromAddrPort(c.lane.client.Info().Local)
}

// RemoteAddr is [net.Conn.RemoteAddr].
func (c *laneConn) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(c.lane.client.Info().Remote)
}

// serve serves the requests at the beginning of in. It appends plain answers to dst and returns how
// many bytes of in it has taken. open is false if the connection must be closed, after what is in
// dst was sent.
func (s *lane) serve(dst, in []byte) (_ []byte, n int, open bool) {
	s.out, open = dst, true
	for open && !s.handler.conns.draining.Load() {
		x := s.next()
		size := x.parse(in[n:], s.handler.maxInline())
		if size == 0 || !s.handler.isInline(&x.request) {
			break
		}
		open = s.answer(x, in[n:n+size])
		if s.away != nil {
			break
		}
		n += size
	}
	return s.out, n, open
}

// next returns the memory of the next request.
func (s *lane) next() *laneExchange {
	x := &s.first
	if s.served {
		x = &laneExchange{}
	}
	x.ctx.lane = s
	return x
}

// send sends the answers that the client has not got yet.
func (s *lane) send() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.out) > 0 {
		_, _ = s.client.Write(s.out)
		s.out = s.out[:0]
	}
}

// answer serves one request, whose bytes are in, and reports whether the connection may have
// another one.
func (s *lane) answer(x *laneExchange, in []byte) (open bool) {
	s.served, s.posted = true, x.request.Method == http.MethodPost
	s.begin(&x.ctx)
	a := &x.answer
	a.lane, a.in, a.exchange = s, in, x
	a.laneMemory = laneMemories.Get().(*laneMemory)
	ended := false
	defer func() {
		if !ended {
			_ = recover() // serve has logged it
			a.abort()
		}
		if s.away == nil {
			x.ctx.cancel()
		}
		x.request.Body.Close()
	}()
	s.handler.serve(a, &x.request)
	if ended = s.away != nil; ended {
		return true
	}
	open = a.finish() && !s.conn.spoiled.Load()
	ended = true
	return open
}
