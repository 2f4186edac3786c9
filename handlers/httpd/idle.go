package httpd

import (
	"time"

	"github.com/portluck/portluck/handlers/internal/grace"
)

// beginRead gives the client IdleTimeout to send more, but no longer than until by, unless that is
// zero. It is false when the answer is over and nothing is wanted any more.
func (a *answer) beginRead(by time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.done {
		return false
	}
	a.reading, a.by = true, by
	a.touched = time.Now()
	if a.pace.h2 {
		a.startLateLocked()
	} else {
		a.extendReadLocked()
	}
	return true
}

// extendLocked lets writing keep a client alive that does not send.
func (a *answer) extendLocked() {
	if a.done {
		return
	}
	a.touched = time.Now()
	if a.reading && !a.pace.h2 {
		a.extendReadLocked()
	}
}

// lateLocked is when a Read takes too long; zero for never.
func (a *answer) lateLocked() time.Time {
	if a.pace.idle <= 0 {
		return a.by
	}
	if late := a.touched.Add(a.pace.idle); a.by.IsZero() || late.Before(a.by) {
		return late
	}
	return a.by
}

// extendReadLocked sets the deadline of a connection, unless it is nearly the same. That of a
// message is exact.
func (a *answer) extendReadLocked() {
	late := a.lateLocked()
	if late.Equal(a.deadline) || late.After(a.deadline) && late.Sub(a.deadline) <= a.pace.idle/8 && !late.Equal(a.by) {
		return
	}
	a.deadline = late
	_ = a.pace.rc.SetReadDeadline(late)
}

// startLateLocked is for HTTP/2, where a deadline that passes while nobody reads ends the body all
// the same. The one that net/http has set is taken away.
func (a *answer) startLateLocked() {
	late := a.lateLocked()
	if a.late == nil && a.pace.idle > 0 {
		_ = a.pace.rc.SetReadDeadline(time.Time{})
	}
	switch {
	case late.IsZero():
		return
	case a.late == nil:
		a.late = time.AfterFunc(time.Until(late), a.endRead)
	default:
		a.late.Reset(time.Until(late))
	}
	a.spare.Set(late)
}

// endRead ends a Read that takes too long.
func (a *answer) endRead() {
	a.mu.Lock()
	defer a.mu.Unlock()
	late := a.lateLocked()
	if !a.reading || a.done || late.IsZero() {
		return
	}
	if left := time.Until(late); left > 0 {
		a.spare.Set(late)
		a.late.Reset(left)
		return
	}
	if a.spare.Extend(func() bool { return grace.HasUnread(a.conn.nc) }) {
		a.late.Reset(grace.Moment)
		return
	}
	_ = a.pace.rc.SetReadDeadline(past)
}

// await waits for the end of the answer.
func (a *answer) await() error {
	late := time.Tick(a.pace.idle) // nil without
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

// active says that something was written within the idle timeout, or is being written, which has a
// bound of its own.
func (a *answer) active() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.flushing || time.Since(a.touched) < a.pace.idle
}
