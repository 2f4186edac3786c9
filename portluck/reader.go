package portluck

import (
	"container/list"
	"errors"
	"io"
	"os"
	"sync"
	"time"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/matchers"
)

// reader classifies a connection that has no descriptor to peek at, in a goroutine, by reading its first bytes. Who gets
// the connection reads them again.
type reader struct {
	port *port
	conn *conn
	in   *replayConn

	mu    sync.Mutex
	want  bool          // Take wants the connection
	shed  bool          // there are too many; under readers.mu
	older *list.Element // where it is in readers.fresh; under readers.mu
	given bool          // Take gets it
	looks int           // how often it has looked since the server began to shut down
	gone  chan struct{} // closed when the goroutine that reads has ended
}

// lastLook is how long a reader looks for what has come when the server shuts down and its time is up, lastLooks times: the
// goroutine may be held up between setting the deadline and looking.
const (
	lastLook  = 10 * time.Millisecond
	lastLooks = 2
)

// readers are the connections that are being read, so that a shutdown finds them.
type readers struct {
	mu      sync.Mutex
	set     map[*reader]struct{}
	fresh   list.List     // of those whose client is not announced, the oldest first
	most    time.Duration // what one has left while the server shuts down; 0 before
	closing bool          // no more are let in
}

// sniffReader starts to classify c, or goes on.
func (p *port) sniffReader(c *conn) {
	r := &reader{port: p, conn: c, in: c.sock.(replayed).replayConn}
	r.start()
}

// start reads in a goroutine of its own.
func (r *reader) start() {
	gone := make(chan struct{})
	r.mu.Lock()
	r.gone = gone
	r.mu.Unlock()
	r.port.Go(func() { // ends with the verdict, at the deadline, or when the connection is closed
		defer close(gone)
		if !r.port.readers.add(r) {
			r.port.drop(r.conn, handlers.ErrShutdown)
			return
		}
		defer r.port.readers.remove(r)
		r.run()
	})
}

func (r *reader) run() {
	if r.port.srv.SpeakFirst != nil && r.look(false) { // before there is a byte
		return
	}
	for {
		if len(r.in.prefix) == cap(r.in.prefix) {
			r.in.prefix = append(make([]byte, 0, max(1<<10, 2*cap(r.in.prefix))), r.in.prefix...)
		}
		n, err := r.in.Conn.Read(r.in.prefix[len(r.in.prefix):cap(r.in.prefix)])
		r.in.prefix = r.in.prefix[:len(r.in.prefix)+n]
		if errors.Is(err, os.ErrDeadlineExceeded) {
			if r.expired() {
				return
			}
			continue
		}
		if err != nil && !errors.Is(err, io.EOF) {
			r.port.drop(r.conn, err)
			return
		}
		before := r.conn.stage()
		r.conn.seen = len(r.in.prefix)
		if r.look(err != nil) {
			return
		}
		if r.conn.stage() != before {
			r.port.readers.grant(r)
		}
	}
}

// look classifies what was read. It is done when the connection is somebody else's.
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
		case r.conn.retires():
			r.port.readers.remove(r)
			if r.port.retire(r.conn) {
				r.port.sniffReader(r.conn) // by another reader: this one may have been asked to Take
			}
			return true
		case skip == 0:
			return false
		}
		r.in.prefix = r.in.prefix[skip:]
		r.conn.seen = len(r.in.prefix)
	}
}

func (r *reader) dispatch(to *route) {
	r.port.readers.remove(r) // no deadline of ours comes after this one
	r.deadline(0)
	r.port.dispatch(r.conn, to, bytesOf(r.in.prefix))
}

// expired is done when the connection is somebody else's.
func (r *reader) expired() (done bool) {
	if r.give() {
		return true
	}
	switch shed, closing, stopped := r.port.readers.state(r); {
	case closing && r.looks < lastLooks: // a Read whose deadline has passed when it begins does not look
		r.looks++
		r.deadline(lastLook)
		return false
	case closing && !stopped && r.conn.chosen != nil:
		r.deadline(r.port.srv.settleTimeout())
		return false
	case closing:
		r.port.drop(r.conn, handlers.ErrShutdown)
		return true
	case shed:
		r.port.stats.shed.Add(1)
		r.port.drop(r.conn, ErrShed)
		return true
	}
	to, err := r.port.expire(r.conn, r.in.prefix)
	switch {
	case err != nil:
		if r.conn.farewell != "" {
			r.deadline(time.Second)
			_, _ = io.WriteString(r.in.Conn, r.conn.farewell)
		}
		r.port.drop(r.conn, err)
		return true
	case to != nil:
		r.dispatch(to)
		return true
	case r.port.srv.OnUnmatched != nil:
		r.conn.waiting = true
		r.port.readers.keep(r)
		r.port.readers.grant(r)
		return false
	}
	r.port.readers.remove(r)
	r.deadline(0)
	r.port.announce(r.conn, r)
	return true
}

func (r *reader) deadline(d time.Duration) {
	if d <= 0 {
		_ = r.in.Conn.SetDeadline(time.Time{})
		return
	}
	_ = r.in.Conn.SetDeadline(time.Now().Add(d))
}

// Park is [loop.Parking.Park].
func (r *reader) Park() {
	r.conn.waiting = true
	r.start()
}

// Take is [loop.Parking.Take].
func (r *reader) Take() bool {
	r.mu.Lock()
	r.want = true
	gone := r.gone
	r.mu.Unlock()
	_ = r.in.Conn.SetReadDeadline(time.Unix(1, 0))
	<-gone
	if r.given {
		r.deadline(0)
	}
	return r.given
}

// give gives the connection to Take, if that wants it.
func (r *reader) give() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.given = r.want
	return r.given
}

func (s *readers) add(r *reader) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return false
	}
	if s.set == nil {
		s.set = map[*reader]struct{}{}
	}
	s.set[r] = struct{}{}
	s.grantLocked(r)
	if r.conn.pending != nil {
		return true
	}
	r.older = s.fresh.PushBack(r)
	if s.fresh.Len() > r.port.srv.maxSniffing() {
		s.shedLocked(s.fresh.Front().Value.(*reader))
	}
	return true
}

// shedLocked ends the Read of a connection that has been undecided for longest.
func (s *readers) shedLocked(r *reader) {
	r.shed = true
	s.forgetLocked(r)
	_ = r.in.Conn.SetReadDeadline(time.Unix(1, 0))
}

func (s *readers) forgetLocked(r *reader) {
	if r.older != nil {
		s.fresh.Remove(r.older)
		r.older = nil
	}
}

func (s *readers) remove(r *reader) {
	s.mu.Lock()
	delete(s.set, r)
	s.forgetLocked(r)
	s.mu.Unlock()
}

// keep has r stay, however many others come.
func (s *readers) keep(r *reader) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forgetLocked(r)
}

// grant gives r the bound of the stage that its connection has reached.
func (s *readers) grant(r *reader) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.grantLocked(r)
}

func (s *readers) grantLocked(r *reader) {
	switch {
	case s.closing, r.shed: // its deadline has passed
	case s.most > 0:
		r.deadline(s.most)
	default:
		r.deadline(r.port.patience(r.conn.stage()))
	}
}

// state says why a Read may have ended before its time.
func (s *readers) state(r *reader) (shed, closing, stopped bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return r.shed, s.closing || s.most > 0, s.closing
}

// hurry gives what is being read, and what will be, d to show its protocol.
func (s *readers) hurry(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.most = d
	for r := range s.set {
		_ = r.in.Conn.SetReadDeadline(time.Now().Add(d))
	}
}

// stop ends what is being read. Nothing is added after.
func (s *readers) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closing = true
	for r := range s.set {
		_ = r.in.Conn.SetReadDeadline(time.Unix(1, 0))
	}
}

func (s *readers) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.set)
}
