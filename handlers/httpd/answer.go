package httpd

import (
	"errors"
	"maps"
	"net/http"
	"sync"
	"time"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/internal/grace"
)

// queueMax is how many bytes wait for a client that does not read.
const queueMax = 256 << 10

// answer is the response to one request: the [handlers.Stream] of its client. The request's
// goroutine decodes in turns; what is written in a turn is sent when it ends, and anything else by
// a goroutine that ends when there is no more.
//
// Only one goroutine uses w at a time: the one that has set flushing, or else the request's.
type answer struct {
	w       http.ResponseWriter
	r       *http.Request
	conn    *httpConn
	pace    *writeDeadline
	delayed *delayedFlushes

	mu         sync.Mutex
	cond       sync.Cond
	header     http.Header // what the program wants, if it has asked
	out        []byte
	first      [64]byte  // out at first
	flushTime  time.Time // when it is sent, whether or not the callback has returned
	next, prev *answer   // in delayed
	turn       bool      // the request's goroutine sends out when it has decoded
	flushing   bool      // a goroutine is sending
	isDelayed  bool      // it is in delayed
	started    bool      // the head was sent
	reading    bool      // the request's goroutine waits for the body
	status     int       // of the head; 200 if zero
	postponed  bool      // DoneAfterWrite
	done       bool      // nothing can be written any more
	ended      bool      // w is net/http's again
	destroyed  bool
	gone       error          // why writing failed
	touched    time.Time      // when the client last took or sent something
	deadline   time.Time      // for reading, as it was set last
	by         time.Time      // when the message at hand must be whole; zero if there is none
	late       *time.Timer    // of a Read over HTTP/2
	spare      grace.Deadline // that of late
	wait       chan struct{}  // closed with done; nil until somebody waits
}

func (a *answer) init(w http.ResponseWriter, r *http.Request, l *httpConn, p *writeDeadline, c *delayedFlushes) {
	a.w, a.r, a.conn, a.pace, a.delayed = w, r, l, p, c
	a.cond.L, a.out = &a.mu, a.first[:0]
}

// Write is [handlers.Stream.Write].
func (a *answer) Write(p []byte, _ handlers.Kind) (int, error) {
	if err := a.push(p, false, true); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Send is [handlers.Stream.Send]: the message and a line feed.
func (a *answer) Send(p []byte, _ handlers.Kind) error { return a.push(p, true, true) }

// TrySend is [handlers.Stream.TrySend].
func (a *answer) TrySend(p []byte, _ handlers.Kind) error { return a.push(p, true, false) }

func (a *answer) push(p []byte, line, wait bool) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.roomLocked(wait); err != nil {
		return err
	}
	if (len(p) > 0 || line) && !bodyAllowed(a.status) {
		return http.ErrBodyNotAllowed
	}
	a.out = append(a.out, p...)
	if line {
		a.out = append(a.out, '\n')
	}
	if a.postponed {
		a.doneLocked()
	}
	a.kickLocked()
	return nil
}

// roomLocked waits until there is room in out, if wait says so.
func (a *answer) roomLocked(wait bool) error {
	for {
		switch {
		case a.done, a.destroyed:
			return handlers.ErrClosed
		case len(a.out) < queueMax:
			return nil
		case !wait:
			return handlers.ErrSlow
		}
		a.startFlushLocked()
		a.cond.Wait()
	}
}

// DoneAfterWrite is [handlers.Stream.DoneAfterWrite].
func (a *answer) DoneAfterWrite() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.postponed = true
}

// Done is [handlers.Stream.Done].
func (a *answer) Done() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.done {
		return handlers.ErrClosed
	}
	a.doneLocked()
	return nil
}

// End is [handlers.Stream.End]: the same as Done.
func (a *answer) End() error { return a.Done() }

// Destroy is [handlers.Stream.Destroy]: of HTTP/1 it closes the connection, of HTTP/2 it resets the
// stream, even while a callback is running. What waits for the end of the turn is sent before if
// the client's side takes it at once, and never looks like a whole answer.
func (a *answer) Destroy() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.destroyed || a.ended {
		return
	}
	a.destroyed = true
	if a.pendingLocked() && !a.flushing && !a.done {
		a.pace.hurry = true
		a.flushing = true
		a.sendLocked()
		a.flushing = false
	}
	a.out = nil
	a.doneLocked()
	if a.r.ProtoMajor == 1 {
		a.conn.sever()
		return
	}
	_ = a.pace.rc.SetWriteDeadline(past)
}

// Header is [handlers.Stream.Header]. It must not be changed while another goroutine writes. Once
// the head was sent it may still be changed, to no effect.
func (a *answer) Header() http.Header {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.header != nil:
	case a.started || a.done:
		a.header = http.Header{}
	default:
		a.header = a.w.Header().Clone()
	}
	return a.header
}

// WriteHeader is [handlers.Stream.WriteHeader]. A status that ends no response (below 200) or is
// none (above 999) is ignored.
func (a *answer) WriteHeader(status int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.status == 0 && !a.started && !a.done && status >= 200 && status <= 999 {
		a.status = status
		a.kickLocked()
	}
}

// bodyAllowed reports whether an answer with this status has a body (RFC 9110, section 6.4.1).
func bodyAllowed(status int) bool {
	return status != http.StatusNoContent && status != http.StatusNotModified
}

// doneLocked lets nothing be written any more, and wakes up whoever waits: for room, for the end,
// for the body.
func (a *answer) doneLocked() {
	if a.done {
		return
	}
	a.done = true
	a.cond.Broadcast()
	if a.wait != nil {
		close(a.wait)
	}
	if a.reading {
		_ = a.pace.rc.SetReadDeadline(past)
	}
}

// over says that nothing can be written any more.
func (a *answer) over() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.done
}

// cut says that the answer must not look as if it were complete.
func (a *answer) cut() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.destroyed || a.gone != nil
}

// settle ends the answer now, or waits until the program does.
func (a *answer) settle(explicit bool) error {
	a.mu.Lock()
	if a.done || !explicit && !a.postponed {
		a.doneLocked()
		a.mu.Unlock()
		return nil
	}
	a.wait = make(chan struct{})
	if a.pendingLocked() {
		a.startFlushLocked()
	}
	a.mu.Unlock()
	_ = a.pace.rc.SetReadDeadline(time.Time{})
	return a.await()
}

// finish sends what is left and returns what the client's disconnect is told. err is why the
// request failed, or nil; whole says that its body was read to the end.
func (a *answer) finish(err error, whole bool) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	defer func() { a.ended = true }()
	a.doneLocked()
	a.stopCorkLocked()
	for a.flushing {
		a.cond.Wait()
	}
	if a.destroyed {
		return nil
	}
	if err == nil && !a.started {
		a.adoptHeaderLocked()
	}
	if !whole && a.r.ProtoMajor == 1 {
		a.leaveBodyLocked()
	}
	if err != nil {
		return a.failLocked(err)
	}
	if a.pendingLocked() {
		a.writeLocked()
	} else {
		a.pace.begin()
	}
	return a.gone
}

// leaveBodyLocked keeps net/http from reading what is left of the body, before or after it answers,
// and tells the client that the connection ends: by a name that net/http does not look for, since
// it would close the connection at once, and the client, which still sends, would lose the answer.
// hangUp closes it.
func (a *answer) leaveBodyLocked() {
	_ = a.pace.rc.EnableFullDuplex()
	_ = a.pace.rc.SetReadDeadline(past)
	if h := a.w.Header(); !a.started && a.r.ProtoAtLeast(1, 1) && h.Get("Connection") == "" {
		h["connection"] = []string{"close"}
	}
}

// failLocked tells the client what was wrong, or, when the answer has begun already, breaks it off.
func (a *answer) failLocked(err error) error {
	if a.gone != nil {
		return a.gone // the first reason
	}
	if a.started || errors.Is(err, errGone) {
		a.gone = err
		return err
	}
	a.pace.begin()
	code, text := status(err)
	if code == http.StatusServiceUnavailable {
		a.w.Header().Set("Retry-After", "1")
		if errors.Is(err, errRefused) {
			a.w.Header().Set("Connection", "close")
		}
	}
	http.Error(a.w, text, code)
	return err
}

// adoptHeaderLocked makes what the program wants the header of the answer, once.
func (a *answer) adoptHeaderLocked() {
	if a.header == nil {
		return
	}
	header := a.w.Header()
	clear(header)
	maps.Copy(header, a.header.Clone())
	a.header = nil
}
