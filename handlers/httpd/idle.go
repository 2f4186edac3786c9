package httpd

import (
	"time"

	"github.com/portluck/portluck/handlers/internal/grace"
)

// beginRead gives the client IdleTimeout to send more, but no longer than until by, unless that is
// zero. It returns false if the answer has ended and no more of the body is needed.
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

// extendLocked extends the read deadline after a write, as writing keeps a client alive that does
// not send.
func (a *answer) extendLocked() {
	if a.done {
		return
	}
	a.touched = time.Now()
	if a.reading && !a.pace.h2 {
		a.extendReadLocked()
	}
}

// lateLocked returns the time at which a Read has taken too long, or zero for never.
func (a *answer) lateLocked() time.Time {
	if a.pace.idle <= 0 {
		return a.by
	}
	if late := a.touched.Add(a.pace.idle); a.by.IsZero() || late.Before(a.by) {
		return late
	}
	return a.by
}

// extendReadLocked sets the read deadline of the connection, unless it would hardly change. The
// deadline of a message is exact.
func (a *answer) extendReadLocked() {
	late := a.lateLocked()
	if late.Equal(a.deadline) || late.After(a.deadline) && late.Sub(a.deadline) <= a.pace.idle/8 && !late.Equal(a.by) {
		return
	}
	a.deadline = late
	_ = a.pace.rc.SetReadDeadline(late)
}

// startLateLocked starts a timer for a Read over HTTP/2, where a read deadline would end the body
// even if it passed while nobody reads. It removes the deadline that net/http has set.
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

// await waits until the answer ends. It gives up if the client leaves or nothing is written for the
// idle timeout.
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

// active reports whether something was written within IdleTimeout or is being written. A write has
// a bound of its own.
func (a *answer) active() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.flushing || time.Since(a.touched) < a.pace.idle
}
