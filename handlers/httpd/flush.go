package httpd

import (
	"errors"
	"os"
	"strconv"

	"github.com/portluck/portluck/handlers"
)

const (
	flushAt = 64 << 10 // a turn with so many bytes is sent before it ends
	counted = 2 << 10  // net/http itself sets Content-Length for answers up to here
)

// pendingLocked reports whether there is something to send.
func (a *answer) pendingLocked() bool {
	return len(a.out) > 0 || a.status != 0 && !a.started
}

// beginTurn is called after a Read of the body.
func (a *answer) beginTurn() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.turn, a.reading = true, false
	if a.late != nil {
		a.late.Stop()
	}
}

// endTurn sends what was written during the turn. In the last turn finish sends it.
func (a *answer) endTurn(last bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.turn = false
	a.stopCorkLocked()
	switch {
	case a.flushing || a.done || !a.pendingLocked():
	case last: // settle knows what to do with it
	case !a.started && a.r.Header.Get("Expect") != "":
		a.corkLocked() // the client is told to continue first, by the Read that comes now
	default:
		a.flushTurnLocked()
	}
}

// flushTurnLocked sends once. It leaves what is written meanwhile to another goroutine, as the body
// waits to be read.
func (a *answer) flushTurnLocked() {
	a.flushing = true
	a.sendLocked()
	a.flushing = false
	a.cond.Broadcast()
	if a.pendingLocked() {
		a.startFlushLocked()
	}
}

// kickLocked makes sure that out is sent: at the end of the turn if that comes soon, otherwise by a
// goroutine.
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
	if !a.isDelayed {
		a.isDelayed = true
		a.delays.add(&a.patience, a)
	}
}

func (a *answer) stopCorkLocked() {
	if a.isDelayed {
		a.isDelayed = false
		a.delays.remove(&a.patience)
	}
}

// tooLate sends what a callback that runs for longer than patience has written.
func (a *answer) tooLate() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.stopCorkLocked()
	if a.pendingLocked() {
		a.startFlushLocked()
	}
}

func (a *answer) startFlushLocked() {
	if a.flushing || a.done {
		return
	}
	a.flushing = true
	go a.flush() // ends when out is empty or the answer is done; finish waits for it
}

// flush sends until out is empty, or until the answer is done and finish sends the rest.
func (a *answer) flush() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for a.pendingLocked() && !a.done {
		a.sendLocked()
		a.cond.Broadcast()
	}
	a.flushing = false
	a.cond.Broadcast()
}

// sendLocked sends out to the client. It releases a.mu while it writes.
func (a *answer) sendLocked() {
	a.writeLocked()
	if !a.done {
		a.mu.Unlock()
		err := a.pace.rc.Flush()
		a.mu.Lock()
		a.failedLocked(err)
	}
	if !a.done {
		a.pace.end()
	}
}

// writeLocked writes out to net/http. It releases a.mu while it writes. Only one goroutine may
// write at a time.
func (a *answer) writeLocked() {
	buf, status, last := a.out, a.status, a.done
	a.out = nil
	first := !a.started
	a.started = true
	if first {
		a.adoptHeaderLocked()
	}
	a.mu.Unlock()
	a.pace.begin()
	if first && !last && a.r.ProtoMajor == 1 {
		_ = a.pace.rc.EnableFullDuplex()
	}
	if header := a.w.Header(); first && last && len(buf) > counted && header["Content-Length"] == nil && header["Transfer-Encoding"] == nil {
		header["Content-Length"] = []string{strconv.Itoa(len(buf))}
	}
	if first && status != 0 {
		a.w.WriteHeader(status)
	}
	var err error
	if len(buf) > 0 {
		_, err = a.w.Write(buf)
	}
	a.mu.Lock()
	a.extendLocked()
	a.failedLocked(err)
}

// failedLocked ends the answer if err, from writing, is not nil.
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
