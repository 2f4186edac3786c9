package httpd

import (
	"net/http"
	"time"
)

// past is a deadline that wakes a Read or Write up at once.
var past = time.Unix(1, 0)

// lastTime is how long the last write before Destroy may take. The client's buffers take it at
// once; a busy machine takes longer to try. Only a client that has stopped reading uses it up.
const lastTime = time.Second

// writeDeadline bounds how long the client may take to read. One goroutine at a time uses it, and
// writes.
type writeDeadline struct {
	rc   http.ResponseController
	idle time.Duration // no bound if not positive
	h2   bool
	set  time.Time // when it was last given idle
	// hurry gives it lastTime instead.
	hurry bool
}

func (h *Handler) writeDeadline(w http.ResponseWriter, r *http.Request) writeDeadline {
	return writeDeadline{rc: *http.NewResponseController(w), idle: h.idleTimeout(), h2: r.ProtoMajor == 2}
}

// begin gives the client idle, or nearly that if it was given it just now, to take what is written
// next.
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

// end follows what was written, if more may come. A deadline of HTTP/2 resets the stream also while
// nothing is written.
func (p *writeDeadline) end() {
	if p.h2 && p.idle > 0 {
		_ = p.rc.SetWriteDeadline(time.Time{})
	}
}
