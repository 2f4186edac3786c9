package httpd

import (
	"net/http"
	"time"
)

// past is a deadline that wakes a Read or Write up at once.
var past = time.Unix(1, 0)

// lastTime bounds the last write before Destroy. Usually the client's buffers take the bytes at
// once, but a busy machine may be late to try. Only a client that has stopped reading uses all of
// it.
const lastTime = time.Second

// writeDeadline bounds how long the client may take to read. Only the goroutine that writes may use
// it.
type writeDeadline struct {
	rc   http.ResponseController
	idle time.Duration // no bound if not positive
	h2   bool
	set  time.Time // when the deadline was last set to idle from then
	// hurry makes begin use lastTime instead of idle.
	hurry bool
}

func (h *Handler) writeDeadline(w http.ResponseWriter, r *http.Request) writeDeadline {
	return writeDeadline{rc: *http.NewResponseController(w), idle: h.idleTimeout(), h2: r.ProtoMajor == 2}
}

// begin gives the client idle, or slightly less if the deadline was set just before, to take what
// is written next.
func (p *writeDeadline) begin() {
	switch {
	case p.hurry:
		_ = p.rc.SetWriteDeadline(time.Now().Add(lastTime))
		return
	case p.idle <= 0:
		return
	}
	now := time.Now()
	if !p.h2 && now.Sub(p.set) < p.idle/8 {
		return
	}
	p.set = now
	_ = p.rc.SetWriteDeadline(now.Add(p.idle))
}

// end is called after a write that may not be the last. It clears the deadline of HTTP/2, which
// would reset the stream even while nothing is written.
func (p *writeDeadline) end() {
	if p.h2 && p.idle > 0 {
		_ = p.rc.SetWriteDeadline(time.Time{})
	}
}
