package httpd

import "time"

// beginRead gives the client IdleTimeout to send more. It is false when the answer is over and nothing is wanted any more.
func (a *answer) beginRead() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.done {
		return false
	}
	a.reading = true
	if a.pace.idle <= 0 {
		return true
	}
	if a.pace.h2 {
		a.startLateLocked()
		return true
	}
	a.extendReadLocked()
	return true
}

// extendLocked lets writing keep a client alive that does not send.
func (a *answer) extendLocked() {
	if a.reading && !a.done && a.pace.idle > 0 && !a.pace.h2 {
		a.extendReadLocked()
		return
	}
	if !a.done {
		a.touched = time.Now()
	}
}

// extendReadLocked sets the deadline of a connection, unless it was set just now.
func (a *answer) extendReadLocked() {
	now, idle := time.Now(), a.pace.idle
	if now.Sub(a.deadline) > idle/8 {
		a.deadline = now
		_ = a.pace.rc.SetReadDeadline(now.Add(idle))
	}
	a.touched = now
}

// startLateLocked is for HTTP/2, where a deadline that passes while nobody reads ends the body all the same. The one that
// net/http has set is taken away.
func (a *answer) startLateLocked() {
	a.touched = time.Now()
	if a.late != nil {
		a.late.Reset(a.pace.idle)
		return
	}
	_ = a.pace.rc.SetReadDeadline(time.Time{})
	a.late = time.AfterFunc(a.pace.idle, a.endRead)
}

// endRead ends a Read that has waited for IdleTimeout since the client last sent or took anything.
func (a *answer) endRead() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.reading || a.done {
		return
	}
	if left := a.pace.idle - time.Since(a.touched); left > 0 {
		a.late.Reset(left)
		return
	}
	_ = a.pace.rc.SetReadDeadline(past)
}

// await waits for the end of the answer.
func (a *answer) await() error {
	var late <-chan time.Time
	if idle := a.pace.idle; idle > 0 {
		t := time.NewTicker(idle)
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

// active says that something was written within the idle timeout, or is being written, which has a bound of its own.
func (a *answer) active() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.flushing || time.Since(a.touched) < a.pace.idle
}
