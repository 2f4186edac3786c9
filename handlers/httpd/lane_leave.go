package httpd

import (
	"context"
	"io"
	"maps"
	"net/http"
)

// leaves reports whether the exchange is one of the lane that waits for the program to end the
// answer. It has then left the lane: net/http reads the request again and goes on with the exchange
// (resume), unless the connection has ended (lost).
func (e *exchangeState) leaves(explicit bool) bool {
	a := &e.answer
	s := a.conn.lane
	if s == nil {
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.done || !explicit && !a.postponed || a.started || a.flushing {
		return false
	}
	a.flushing = true // until there is somebody to send it
	e.away, s.away = true, e
	return true
}

// resume goes on with an exchange that has left the lane, as the request r of l.
func (e *exchangeState) resume(h *Handler, w http.ResponseWriter, r *http.Request, l *httpConn) {
	_, _ = io.Copy(io.Discard, r.Body) // its messages were delivered
	if ctx, ok := e.info.Request.Context().(*laneContext); ok {
		context.AfterFunc(r.Context(), ctx.cancel)
	}
	a := &e.answer
	l.continues(a.conn)
	a.mu.Lock()
	maps.Copy(w.Header(), a.w.Header())
	e.pace = h.writeDeadline(w, r)
	a.w, a.r, a.conn = w, r, l
	a.flushing, e.away = false, false
	a.cond.Broadcast()
	a.mu.Unlock()
	err := a.settle(h.ExplicitDone)
	e.client.Disconnect(e.end(err))
	if a.cut() {
		panic(http.ErrAbortHandler)
	}
}

// lost ends an exchange that has left the lane and whose connection has ended.
func (e *exchangeState) lost() {
	a := &e.answer
	a.mu.Lock()
	why := errGone
	if a.destroyed {
		why = nil
	}
	a.gone = errGone
	a.doneLocked()
	a.flushing, a.ended, a.out = false, true, nil
	a.cond.Broadcast()
	a.mu.Unlock()
	if ctx, ok := e.info.Request.Context().(*laneContext); ok {
		ctx.cancel()
	}
	e.client.Disconnect(why)
}
