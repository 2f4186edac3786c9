package httpd

import (
	"context"
	"time"

	"github.com/portluck/portluck/handlers/internal/grace"
)

// How long a shutdown waits for the requests that have been sent already: until none has come for
// quiet. While a connection has shown no request at all it waits for longer, up to stuck after the
// last one that has.
const (
	quiet = 20 * time.Millisecond
	stuck = time.Second
)

// drain waits until the requests that have been sent are being served: once net/http shuts down it
// drops those that it reads. The answers given meanwhile tell the client that the connection
// closes.
func (s *conns) drain(ctx context.Context) {
	s.last.Store(time.Now().UnixNano())
	s.draining.Store(true)
	tick := time.Tick(quiet / 10)
	for !s.settled() {
		select {
		case <-tick:
		case <-ctx.Done():
			return
		}
	}
}

// settled reports whether every connection has shown a request and the last one was a while ago, or
// whether nothing goes on any more.
func (s *conns) settled() bool {
	since := time.Since(time.Unix(0, s.last.Load()))
	switch {
	case s.count.Load() == 0, since > stuck:
		return true
	}
	return s.fresh.Load() == 0 && since > quiet && !s.unread()
}

// wait waits until every connection has been given back: net/http does not, for those that it
// closes itself.
func (s *conns) wait(ctx context.Context) error {
	tick := time.Tick(quiet / 10)
	for s.count.Load() > 0 {
		select {
		case <-tick:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// unread reports whether a connection that is idle to net/http has something that nobody has read:
// a request, most likely.
func (s *conns) unread() (found bool) {
	s.byConn.Range(func(_, v any) bool {
		l := v.(*httpConn)
		found = l.idle.Load() && grace.HasUnread(l.nc)
		return !found
	})
	return found
}
