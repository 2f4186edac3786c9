package httpd

import (
	"errors"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/portluck/portluck/handlers"
)

const (
	queueMax = 1 << 20          // bytes that wait for a client that does not read
	flushAt  = 64 << 10         // bytes of a turn that are sent before it ends
	patience = time.Millisecond // how long a callback may run before what it wrote is sent
)

// answer is the response to one request: the [handlers.Stream] of its client. The request's goroutine decodes in turns;
// what is written in a turn is sent when it ends, and anything else by a goroutine that ends when there is no more.
type answer struct {
	w    http.ResponseWriter
	rc   *http.ResponseController
	r    *http.Request
	idle time.Duration

	mu        sync.Mutex
	cond      sync.Cond
	out       []byte
	turn      bool // the request's goroutine sends out when it has decoded
	flushing  bool // a goroutine is sending
	corked    bool // cork is running
	cork      *time.Timer
	started   bool // the head was sent
	reading   bool // the request's goroutine waits for the body
	status    int  // of the head; 200 if zero
	postponed bool // DoneAfterWrite
	done      bool // nothing can be written any more
	destroyed bool
	gone      error // why writing failed
	touched   time.Time
	wait      chan struct{} // closed with done; nil until somebody waits
}

func newAnswer(w http.ResponseWriter, r *http.Request, idle time.Duration) *answer {
	a := &answer{w: w, rc: http.NewResponseController(w), r: r, idle: idle}
	a.cond.L = &a.mu
	return a
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
	for {
		switch {
		case a.done:
			return handlers.ErrClosed
		case len(a.out) < queueMax:
		case !wait:
			return handlers.ErrSlow
		default:
			a.startFlushLocked()
			a.cond.Wait()
			continue
		}
		break
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

// Destroy is [handlers.Stream.Destroy].
func (a *answer) Destroy() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.destroyed {
		a.destroyed = true
		a.out = nil
		a.doneLocked()
		_ = a.rc.SetWriteDeadline(past)
	}
}

// Header is [handlers.Stream.Header].
func (a *answer) Header() http.Header { return a.w.Header() }

// WriteHeader is [handlers.Stream.WriteHeader]. The head is sent with the first bytes.
func (a *answer) WriteHeader(status int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.status == 0 && !a.started && !a.done {
		a.status = status
	}
}

// doneLocked lets nothing be written any more, and wakes up whoever waits: for room, for the end, for the body.
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
		_ = a.rc.SetReadDeadline(past)
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
	if !a.flushing && len(a.out) > 0 {
		a.flushLocked()
	}
	a.mu.Unlock()
	_ = a.rc.SetReadDeadline(time.Time{})
	return a.await()
}

// await waits for the end of the answer.
func (a *answer) await() error {
	var late <-chan time.Time
	if a.idle > 0 {
		t := time.NewTicker(a.idle)
		defer t.Stop()
		late = t.C
	}
	for {
		select {
		case <-a.wait:
			return nil
		case <-a.r.Context().Done():
			return errGone
		case <-late:
			if !a.active() {
				return errUnanswered
			}
		}
	}
}

// active says that something was written within the idle timeout.
func (a *answer) active() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return time.Since(a.touched) < a.idle
}

// finish sends what is left and returns what the client's disconnect is told. err is why the request failed, or nil;
// whole says that its body was read to the end.
func (a *answer) finish(err error, whole bool) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.doneLocked()
	a.stopCorkLocked()
	for a.flushing {
		a.cond.Wait()
	}
	if a.destroyed {
		return nil
	}
	if !whole { // else net/http would read on before it answers
		_ = a.rc.EnableFullDuplex()
		_ = a.rc.SetReadDeadline(past)
	}
	if err != nil {
		return a.failLocked(err)
	}
	if len(a.out) > 0 || a.status != 0 {
		a.writeLocked()
	}
	return a.gone
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
	a.started = true
	http.Error(a.w, err.Error(), status(err))
	return err
}

// fail answers a request that did not become a client.
func (a *answer) fail(status int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.done, a.turn = true, false
	a.stopCorkLocked()
	for a.flushing {
		a.cond.Wait()
	}
	if status == http.StatusServiceUnavailable {
		a.w.Header().Set("Retry-After", "1")
	}
	a.w.Header().Set("Connection", "close")
	http.Error(a.w, http.StatusText(status), status)
}

func (a *answer) beginTurn() {
	a.mu.Lock()
	a.turn, a.reading = true, false
	a.mu.Unlock()
}

// endTurn sends what the turn has written, unless it was the last one: then finish does.
func (a *answer) endTurn(last bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.turn = false
	a.stopCorkLocked()
	switch {
	case a.flushing || len(a.out) == 0:
	case last && a.done, last && !a.started && !a.postponed:
	case !a.started && a.r.Header.Get("Expect") != "":
		a.corkLocked() // the client is told to continue first, by the Read that comes now
	default:
		a.flushLocked()
	}
}

// kickLocked sees to it that out gets sent: at the turn's end if that comes soon.
func (a *answer) kickLocked() {
	switch {
	case a.flushing:
	case a.done: // finish sends it
	case a.turn && len(a.out) < flushAt:
		a.corkLocked()
	default:
		a.startFlushLocked()
	}
}

func (a *answer) corkLocked() {
	switch {
	case a.corked:
		return
	case a.cork == nil:
		a.cork = time.AfterFunc(patience, a.uncork)
	default:
		a.cork.Reset(patience)
	}
	a.corked = true
}

func (a *answer) stopCorkLocked() {
	if a.corked {
		a.corked = false
		a.cork.Stop()
	}
}

func (a *answer) uncork() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.corked = false
	if !a.done && len(a.out) > 0 {
		a.startFlushLocked()
	}
}

func (a *answer) startFlushLocked() {
	if a.flushing || a.done {
		return
	}
	a.flushing = true
	go func() { // ends when out is empty; finish waits for it
		a.mu.Lock()
		defer a.mu.Unlock()
		a.flushLocked()
	}()
}

// flushLocked sends until out is empty, or until the answer is done and finish sends the rest.
func (a *answer) flushLocked() {
	a.flushing = true
	for len(a.out) > 0 && !a.done {
		a.writeLocked()
		if !a.done {
			a.mu.Unlock()
			err := a.rc.Flush()
			a.mu.Lock()
			a.failedLocked(err)
		}
		a.cond.Broadcast()
	}
	a.flushing = false
	a.cond.Broadcast()
}

// writeLocked gives out to net/http. a.mu is released while it writes; only one goroutine does.
func (a *answer) writeLocked() {
	buf, status := a.out, a.status
	a.out = nil
	first := !a.started
	a.started = true
	duplex := first && !a.done && a.r.ProtoMajor == 1
	a.mu.Unlock()
	if duplex {
		_ = a.rc.EnableFullDuplex()
	}
	if a.idle > 0 && (!first || duplex) {
		_ = a.rc.SetWriteDeadline(time.Now().Add(a.idle))
	}
	if first && status != 0 {
		a.w.WriteHeader(status)
	}
	_, err := a.w.Write(buf)
	a.mu.Lock()
	a.extendLocked()
	a.failedLocked(err)
}

// failedLocked ends the answer when writing has failed.
func (a *answer) failedLocked(err error) {
	if err == nil || a.gone != nil || a.destroyed {
		return
	}
	a.gone = err
	if errors.Is(err, os.ErrDeadlineExceeded) {
		a.gone = handlers.ErrSlow
	}
	a.doneLocked()
}

// beginRead gives the client IdleTimeout to send more; unless the answer is over, and nothing is wanted any more.
func (a *answer) beginRead() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.reading = true
	now := time.Now()
	switch {
	case a.done:
		_ = a.rc.SetReadDeadline(past)
	case a.idle > 0 && now.Sub(a.touched) > a.idle/8:
		a.touched = now
		_ = a.rc.SetReadDeadline(now.Add(a.idle))
	}
}

// extendLocked lets writing keep a client alive that does not send.
func (a *answer) extendLocked() {
	now := time.Now()
	if a.reading && !a.done && a.idle > 0 && now.Sub(a.touched) > a.idle/8 {
		_ = a.rc.SetReadDeadline(now.Add(a.idle))
	}
	a.touched = now
}
