package portluck

import (
	"log/slog"
	"sync/atomic"
	"time"
)

// A meter counts what a client sends and is sent, for the line that is logged at its end. There are
// none unless that line is logged: an idle client would take more memory.
type meter struct {
	since   time.Time
	in, out atomic.Uint64 // bytes of its messages; bytes written to it
}

// metered reports whether l wants meters.
func (l *log) metered() bool { return l.meters != nil }

// meter begins to count for c.
func (l *log) meter(c *Client) {
	if l.metered() {
		l.meters.Store(c, &meter{since: time.Now()})
	}
}

// measured ends the counting for c. It returns nil if there was none.
func (l *log) measured(c *Client) *meter {
	if l.metered() {
		if v, ok := l.meters.LoadAndDelete(c); ok {
			return v.(*meter)
		}
	}
	return nil
}

// attrs is the result.
func (m *meter) attrs() []slog.Attr {
	if m == nil {
		return nil
	}
	return []slog.Attr{slog.Duration("duration", time.Since(m.since)), slog.Uint64("in", m.in.Load()), slog.Uint64("out", m.out.Load())}
}

// received counts n bytes of a message of c.
func (c *Client) received(n int) {
	if l := c.log(); l.metered() {
		if v, ok := l.meters.Load(c); ok {
			v.(*meter).in.Add(uint64(n))
		}
	}
}

// sent counts n bytes that were written to c.
func (c *Client) sent(n int) {
	if l := c.log(); l.metered() {
		if v, ok := l.meters.Load(c); ok {
			v.(*meter).out.Add(uint64(n))
		}
	}
}
