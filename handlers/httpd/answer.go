package httpd

import (
	"cmp"
	"errors"
	"maps"
	"net/http"
	"sync"
	"time"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/internal/grace"
)

// queueMax bounds the bytes that are queued for a client that does not read.
const queueMax = 256 << 10

// answer is the response to one request and the [handlers.Stream] of its client. The request's
// goroutine decodes the body in turns and sends what was written during a turn when the turn ends.
// Everything else is sent by a goroutine that ends when nothing is left to send.
//
// Only one goroutine uses w at a time: the one that has set flushing, or otherwise the request's.
type answer struct {
	w      http.ResponseWriter
	r      *http.Request
	conn   *httpConn
	pace   *writeDeadline
	delays *delays

	mu        sync.Mutex
	cond      sync.Cond
	header    http.Header // the program's header; nil until it calls Header
	out       []byte
	first     [64]byte // initial memory of out
	patience  delay    // then out is sent even if the callback has not returned
	turn      bool     // the request's goroutine sends out at the end of its turn
	flushing  bool     // a goroutine is sending
	isDelayed bool     // patience may be in delays
	started   bool     // the head was sent
	reading   bool     // the request's goroutine waits for the body
	status    int      // of the head; 200 if zero
	postponed bool     // DoneAfterWrite
	done      bool     // nothing can be written any more
	ended     bool     // w belongs to net/http again
	destroyed bool
	gone      error          // why writing failed
	quit      error          // of Quit
	touched   time.Time      // when the client last received or sent something
	deadline  time.Time      // for reading, as last set
	by        time.Time      // when the current message must be complete; zero without one
	late      *time.Timer    // of a Read over HTTP/2
	spare     grace.Deadline // that of late
	wait      chan struct{}  // closed with done; nil until somebody waits
}

func (a *answer) init(w http.ResponseWriter, r *http.Request, l *httpConn, p *writeDeadline, c *delays) {
	a.w, a.r, a.conn, a.pace, a.delays = w, r, l, p, c
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

// roomLocked returns nil if there is room in out. If wait is set it waits for room.
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

// DoneAfterWrite is [handlers.Response.DoneAfterWrite].
func (a *answer) DoneAfterWrite() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.postponed = true
}

// Done is [handlers.Response.Done].
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

// Destroy is [handlers.Stream.Destroy]. It closes the connection of HTTP/1 or resets the stream of
// HTTP/2, even while a callback is running. What waits for the end of the turn is sent before, if
// the client's side takes it at once. The answer never looks complete.
func (a *answer) Destroy() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.destroyLocked()
}

// Quit ends the client for err. If nothing of the answer was sent, err is answered; else the answer
// is broken off.
func (a *answer) Quit(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.quit != nil || a.destroyed || a.ended {
		return
	}
	if a.quit = err; a.started || a.flushing || a.done {
		a.destroyLocked()
		return
	}
	a.out = nil
	a.doneLocked()
}

func (a *answer) destroyLocked() {
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

// Header is [handlers.Response.Header]. The header must not be changed while another goroutine
// writes. Changes after the head was sent have no effect.
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

// WriteHeader is [handlers.Response.WriteHeader]. It ignores a status below 200, which is not
// final, and one above 999, which is not valid.
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

// doneLocked ends writing, and wakes up the goroutines that wait for room, for the end of the
// answer or for the body.
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

// over reports whether writing has ended.
func (a *answer) over() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.done
}

// cut reports whether the answer must not look complete.
func (a *answer) cut() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.destroyed || a.gone != nil
}

// settle ends the answer now, or waits until the program ends it.
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

// finish sends what is left and returns the error for the client's Disconnect. err is why the
// request failed, or nil. whole reports whether its body was read to the end.
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
		return a.quit
	}
	err = cmp.Or(a.quit, err)
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

// leaveBodyLocked keeps net/http from reading the rest of the body, before or after it answers, and
// tells the client that the connection ends. It does so in a header name that net/http does not
// look for. Otherwise net/http would close the connection at once, and the client, which still
// sends, would lose the answer. hangUp closes the connection.
func (a *answer) leaveBodyLocked() {
	_ = a.pace.rc.EnableFullDuplex()
	_ = a.pace.rc.SetReadDeadline(past)
	if h := a.w.Header(); !a.started && a.r.ProtoAtLeast(1, 1) && h.Get("Connection") == "" {
		h["connection"] = []string{"close"}
	}
}

// failLocked tells the client what was wrong. If the answer has already begun it breaks it off.
func (a *answer) failLocked(err error) error {
	if a.gone != nil {
		return a.gone // the first reason
	}
	if a.started || errors.Is(err, errGone) {
		a.gone = err
		return err
	}
	a.pace.begin()
	f := farewell(err)
	if f.Status == http.StatusServiceUnavailable && errors.Is(err, errRefused) {
		a.w.Header().Set("Connection", "close")
	}
	f.Answer(a.w)
	return err
}

// adoptHeader makes the header that the port has set that of a refusal.
func (a *answer) adoptHeader() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.adoptHeaderLocked()
}

// adoptHeaderLocked copies the program's header into the header of w, once.
func (a *answer) adoptHeaderLocked() {
	if a.header == nil {
		return
	}
	header := a.w.Header()
	clear(header)
	maps.Copy(header, a.header.Clone())
	a.header = nil
}
