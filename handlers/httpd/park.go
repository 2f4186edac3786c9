package httpd

import (
	"bufio"
	"bytes"
	"errors"
	"os"
	"sync/atomic"
	"time"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/internal/grace"
	"github.com/portluck/portluck/handlers/internal/setting"
)

// A Parker keeps connections of HTTP/1 while their clients are idle, at less cost than net/http
// does. Several goroutines may call its methods at once.
type Parker interface {
	// CanPark reports whether Park can take c. It leaves c as it is.
	CanPark(c handlers.Conn) bool
	// Park takes c, and gives what the client then sends to idle. It closes c at the end of the
	// client's stream, when the client has been idle for too long, and at a shutdown. It returns
	// false, and leaves c as it is, if a shutdown has begun.
	Park(c handlers.Conn, idle *Idle) bool
}

// Idle is what net/http knew of a connection that a [Parker] has taken. One goroutine at a time may
// call its methods.
type Idle struct {
	handler *Handler
	posted  bool    // the last request was a POST
	seen    int8    // bytes of empty
	empty   [4]byte // CR and LF that have come before the next request
	over    atomic.Bool
	// exchange is the one that the next request goes on with; nil without.
	exchange *exchangeState
}

// Next returns the bytes that the next request begins with, once it has begun. They end with in,
// all of which Next has taken. As in net/http, bytes that may be empty lines begin no request
// before there are four of them, and behind a POST these four are skipped.
func (i *Idle) Next(in []byte) (first []byte, begun bool) {
	for int(i.seen) < len(i.empty) && len(in) > 0 && isEmptyLines(in[:1]) {
		i.empty[i.seen] = in[0]
		i.seen++
		in = in[1:]
	}
	switch {
	case i.posted:
		return bytes.Clone(in), len(in) > 0
	case len(in) == 0 && int(i.seen) < len(i.empty):
		return nil, false
	}
	return append(i.empty[:i.seen:i.seen], in...), true
}

// Resume gives the connection back to net/http. c replaces the Conn that was parked, and first is
// what Next has returned.
func (i *Idle) Resume(c handlers.Conn, p handlers.Port, first []byte) {
	i.handler.start()
	e := i.exchange
	i.exchange = nil
	i.handler.resume(c, p, first, e)
	i.Done()
}

// Done tells the Handler that the connection is no longer parked: it was given back, or is being
// closed. A Parker calls it. A second call does nothing.
func (i *Idle) Done() {
	if e := i.exchange; e != nil {
		i.exchange = nil
		e.lost()
	}
	if !i.over.Swap(true) {
		s := &i.handler.conns
		if s.parked.Add(-1); s.draining.Load() {
			s.last.Store(time.Now().UnixNano())
		}
	}
}

// Parked returns how many connections the Parker has.
func (h *Handler) Parked() int { return int(h.conns.parked.Load()) }

// parkAfter returns how long a connection is idle before it is parked; 0 for never. A parked
// connection has the whole of IdleTimeout again, hence the eighth.
func (h *Handler) parkAfter() time.Duration {
	d := setting.Or(h.ParkAfter, DefaultParkAfter, 0)
	if idle := h.idleTimeout(); idle > 0 {
		d = min(d, idle/8)
	}
	return d
}

// parksAfter is parkAfter for one connection.
func (h *Handler) parksAfter(l *httpConn) time.Duration {
	if l.watch == nil || h.Parker == nil || !h.Parker.CanPark(l.conn) {
		return 0
	}
	return h.parkAfter()
}

// parks reports whether the connection, on which net/http waits for the next request, is to be
// parked if nothing comes.
func (l *httpConn) parks() bool {
	return l.parkAfter > 0 && l.idle.Load() && !l.head.h2.Load() && !l.handler.conns.draining.Load()
}

// park gives the connection, which net/http has dropped, to the Parker.
func (l *httpConn) park() {
	h := l.handler
	h.conns.parked.Add(1)
	idle := &Idle{handler: h, posted: l.posted}
	if h.Parker.Park(l.conn, idle) {
		return
	}
	if grace.HasUnread(l.nc) { // a request that was sent before the shutdown
		_ = l.nc.SetReadDeadline(time.Time{})
		h.resume(l.conn, l.port, nil, nil)
	} else {
		l.conn.Close()
	}
	idle.Done()
}

// resume serves the rest of a connection that was parked. first is what has come of the next
// request.
func (h *Handler) resume(c handlers.Conn, p handlers.Port, first []byte, e *exchangeState) {
	nc, err := netConn(c)
	if err != nil {
		if c.Close(); e != nil {
			e.lost()
		}
		return
	}
	l := newHTTPConn(c, p, nc)
	l.resumed.Store(e)
	nc = newWatch(nc, l, &h.delays)
	l.watch.unread = first
	l.head.budget = h.budget()
	l.head.clock.resumes(h.headerTimeout())
	h.serveConn(h.http1, l, nc)
}

// isIdleOver reports whether a Read of n bytes with the result err has waited for parkAfter.
func (c *watch) isIdleOver(n int, err error) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.early && n == 0 && errors.Is(err, os.ErrDeadlineExceeded) && !c.conn.head.clock.begun
}

// waitOn has the next Read wait for as long as net/http wants.
func (c *watch) waitOn() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.early = false
	_ = c.setLocked(c.until)
}

// earlyLocked returns the deadline in place of t, which net/http sets before it waits for the next
// request.
func (c *watch) earlyLocked(t time.Time) time.Time {
	if c.early = c.conn.parks(); !c.early {
		return t
	}
	by := time.Now().Add(c.conn.parkAfter)
	if !t.IsZero() && t.Before(by) {
		return t
	}
	return by
}

// fill puts the bytes that came with the beginning of the request, and that net/http has not read
// yet, into the reader of a hijacked connection.
func (c *watch) fill(rw *bufio.ReadWriter) {
	if c == nil || len(c.unread) == 0 {
		return
	}
	n := rw.Reader.Buffered() + len(c.unread)
	all := bufio.NewReaderSize(rw.Reader, n)
	_, _ = all.Peek(n)
	rw.Reader = all
}
