package portluck

import "time"

// passed is a deadline that has passed.
var passed = time.Unix(1, 0)

// deadline sets the deadline to d from now, or to none if d is not positive, but never later than
// r.latest.
func (r *reader) deadline(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	at := time.Time{}
	if d > 0 {
		at = time.Now().Add(d)
	}
	if !r.latest.IsZero() && (d <= 0 || r.latest.Before(at)) {
		at = r.latest
	}
	_ = r.in.Conn.SetDeadline(at)
}

// bound makes the running Read and all later ones end at this time at the latest.
func (r *reader) bound(at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.free || !r.latest.IsZero() && r.latest.Before(at) {
		return
	}
	r.latest = at
	_ = r.in.Conn.SetReadDeadline(at)
}

// rebound replaces the bound by d from now, unless the connection was handed on.
func (r *reader) rebound(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.free {
		return
	}
	r.latest = time.Now().Add(d)
	_ = r.in.Conn.SetReadDeadline(r.latest)
}

// release removes the deadlines, so that the next owner can set its own.
func (r *reader) release() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.latest, r.free = time.Time{}, true
	_ = r.in.Conn.SetDeadline(time.Time{})
}
