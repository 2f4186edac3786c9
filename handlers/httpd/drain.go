package httpd

import (
	"context"
	"time"

	"github.com/portluck/portluck/handlers/internal/grace"
)

// A shutdown waits for requests that were already sent until none has come for quiet. While a
// connection has not had any request yet, it waits longer: until stuck after the last event.
const (
	quiet = 20 * time.Millisecond
	stuck = time.Second
)

// drain waits until the requests that were sent are being served, as net/http drops requests that
// it reads after its Shutdown. Answers given meanwhile tell the client that the connection closes.
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

// settled reports whether every connection has had a request and the last one came a while ago, or
// whether nothing happens any more. The Parker gives back the parked connections, or closes them.
func (s *conns) settled() bool {
	since := time.Since(time.Unix(0, s.last.Load()))
	switch {
	case s.count.Load() == 0 && s.parked.Load() == 0, since > stuck:
		return true
	}
	return s.fresh.Load() == 0 && s.parked.Load() == 0 && since > quiet && !s.unread()
}

// wait waits until every connection has been given back. net/http does not wait for connections
// that it closes itself.
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

// unread reports whether any connection that net/http considers idle has unread bytes, which are
// most likely a request.
func (s *conns) unread() (found bool) {
	s.byConn.Range(func(_, v any) bool {
		l := v.(*httpConn)
		found = l.idle.Load() && grace.HasUnread(l.nc)
		return !found
	})
	return found
}
