package portluck

import (
	"container/list"
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/matchers"
)

// reader classifies a connection that has no descriptor to peek at. Its goroutine reads the first
// bytes; the connection replays them to the handler.
type reader struct {
	port *port
	conn *conn
	in   *replayConn
	held int // bytes taken from port.budget

	mu     sync.Mutex
	latest time.Time // bounds all deadlines; zero means no bound
	free   bool      // the connection, with its deadlines, has been handed on

	shed  bool          // dropped for MaxSniffing; under readers.mu
	older *list.Element // its element of readers.fresh; under readers.mu
	looks int           // last looks made at a shutdown
}

// lastLook is how long a reader waits for bytes when its time is up at a shutdown. It does so
// lastLooks times, as the goroutine may be held up between setting the deadline and reading.
const (
	lastLook  = 10 * time.Millisecond
	lastLooks = 2
)

// sniffReader classifies c by reading, in a goroutine of its own.
func (p *port) sniffReader(c *conn) {
	r := &reader{port: p, conn: c, in: c.sock.(replayed).replayConn}
	p.Go(func() { // ends with the verdict, at the deadline, or when the connection is closed
		if !r.port.readers.add(r) {
			r.port.drop(r.conn, handlers.ErrShutdown)
			return
		}
		defer r.port.readers.remove(r)
		broken := func(err error) { // a net.Conn of the program has panicked
			r.port.log.panicked(r.conn.Info(), err)
			r.port.drop(r.conn, err)
		}
		if err := handlers.GuardExit(r.run, broken); err != nil {
			broken(err)
		}
	})
}

func (r *reader) run() {
	if r.port.srv.SpeakFirst != nil && r.look(false) { // before any byte has come
		return
	}
	defer r.count(0)
	for {
		if !r.grow() {
			if to := r.conn.chosen; to != nil && to.opening == helloOpening {
				r.dispatch(to) // it must be refused inside TLS
				return
			}
			if r.conn.speaksHTTP1(r.in.prefix) {
				r.conn.farewell = handlers.AppendRefusal(nil, http.StatusServiceUnavailable, overloaded, [2]string{"Retry-After", "1"})
			}
			r.refuse(r.port.budget.Refuse())
			return
		}
		n, err := r.in.Conn.Read(r.in.prefix[len(r.in.prefix):cap(r.in.prefix)])
		r.in.prefix = r.in.prefix[:len(r.in.prefix)+n]
		if errors.Is(err, os.ErrDeadlineExceeded) {
			if r.readFirst() {
				continue
			}
			if r.expired() {
				return
			}
			continue
		}
		if err != nil && !errors.Is(err, io.EOF) {
			if err = r.conn.fails(err); errors.Is(err, io.EOF) {
				r.conn.Close()
				return
			}
			r.port.drop(r.conn, err)
			return
		}
		before := r.conn.stage()
		r.conn.seen = len(r.in.prefix)
		if r.look(err != nil) {
			return
		}
		if r.conn.stage() != before {
			r.grant()
		}
	}
}

// readFirst extends the deadline, once, if unread bytes of the peer are waiting: they may have
// come while the process was stalled.
func (r *reader) readFirst() bool {
	r.mu.Lock()
	bounded := !r.latest.IsZero()
	r.mu.Unlock()
	if bounded || r.conn.graced || !hasUnread(r.in.Conn) {
		return false
	}
	r.conn.graced = true
	r.deadline(time.Second)
	return true
}

// grant starts the bound of the stage that the connection has reached.
func (r *reader) grant() { r.deadline(r.port.patience(r.conn.stage())) }

// grow makes room for more first bytes. It returns false if the budget is exhausted.
func (r *reader) grow() bool {
	size := max(firstPrefix, cap(r.in.prefix))
	if len(r.in.prefix) == size {
		size *= 2
	}
	if len(r.in.prefix) > 0 && !r.count(size) {
		return false
	}
	if size > cap(r.in.prefix) {
		r.in.prefix = append(make([]byte, 0, size), r.in.prefix...)
	}
	return true
}

// firstPrefix is the size of the first read buffer. It counts for the budget once one read was not
// enough.
const firstPrefix = 1 << 10

// count makes the connection hold n bytes of the budget. It returns false if the budget is
// exhausted.
func (r *reader) count(n int) bool {
	if n == r.held {
		return true
	}
	if !r.port.budget.Take(n - r.held) {
		return false
	}
	r.held = n
	return true
}

// overloaded answers the beginning of an HTTP request for which there is no memory (RFC 9110,
// section 15.6.4).
const overloaded = "The server has no memory left for this request. Try again later."

// refuse sends the farewell, if there is one, and closes the connection for err.
func (r *reader) refuse(err error) {
	if len(r.conn.farewell) > 0 {
		_ = r.in.Conn.SetWriteDeadline(time.Now().Add(time.Second))
		_, _ = r.in.Conn.Write(r.conn.farewell)
	}
	r.port.drop(r.conn, err)
}

// look classifies the bytes read so far. It returns true if the reader no longer owns the
// connection.
func (r *reader) look(eof bool) (done bool) {
	if eof {
		r.in.err = io.EOF
	}
	for {
		b := r.in.prefix[:min(len(r.in.prefix), matchers.Window)]
		route, skip, err := r.port.look(r.conn, b, eof)
		switch {
		case errors.Is(err, io.EOF):
			r.conn.Close()
			return true
		case err != nil:
			r.port.drop(r.conn, err)
			return true
		case route != nil:
			r.dispatch(route)
			return true
		case skip == 0:
			return false
		}
		r.in.prefix = r.in.prefix[skip:]
		r.conn.seen = len(r.in.prefix)
	}
}

func (r *reader) dispatch(to *route) {
	r.port.readers.remove(r)
	r.release()
	r.port.dispatch(r.conn, to, bytesOf(r.in.prefix))
}

// goes dispatches the connection to a route or, if err is not nil, refuses it; for io.EOF it just
// closes it. It returns true: the reader no longer owns the connection.
func (r *reader) goes(to *route, err error) (done bool) {
	switch {
	case errors.Is(err, io.EOF):
		r.conn.Close()
	case err != nil:
		r.refuse(err)
	default:
		r.dispatch(to)
	}
	return true
}

// expired handles a deadline that has passed. It returns true if the reader no longer owns the
// connection.
func (r *reader) expired() (done bool) {
	shed, closing := r.port.readers.state(r)
	if closing && r.looks < lastLooks { // a Read that begins after its deadline reads nothing
		r.looks++
		r.rebound(lastLook)
		return false
	}
	if closing && r.conn.undecidedBytes() {
		if to, err := r.port.passOver(r.conn, r.in.prefix); to != nil || err != nil {
			return r.goes(to, err)
		}
	}
	switch {
	case closing && r.conn.chosen != nil && r.port.readers.settle(r):
		return false
	case closing:
		r.port.dropped(r.conn)
		return true
	case shed:
		r.port.stats.shed.Add(1)
		r.port.drop(r.conn, ErrShed)
		return true
	}
	to, err := r.port.expire(r.conn, r.in.prefix)
	switch {
	case to != nil || err != nil:
		return r.goes(to, err)
	case r.conn.chosen != nil:
		r.grant()
		return false
	case r.port.srv.OnUnmatched != nil:
		r.conn.waiting = true
		r.port.readers.keep(r)
		r.grant()
		return false
	}
	r.port.readers.remove(r)
	r.release()
	r.port.announce(r.conn)
	return true
}
