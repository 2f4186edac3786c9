package loop

import (
	"testing"
	"time"

	"github.com/portluck/portluck/handlers/internal/boundtest"
)

// A timeout that is zero or negative means no timeout.
func TestDeadlines(t *testing.T) {
	due := func(prepare func(c *epollConn)) func(l *Loop) int64 {
		return func(l *Loop) int64 {
			c := &epollConn{loop: l}
			now := c.now()
			c.active.Store(uint32(now))
			prepare(c)
			at, _ := c.dueLocked(now)
			if at == 0 {
				return boundtest.None
			}
			return int64(time.Duration(at-now) * time.Millisecond)
		}
	}
	boundtest.Check(t, []string{"Driver", "CloseTimeout", "MaxQueue"},
		boundtest.Field("Timeout", boundtest.None, boundtest.None, due(func(*epollConn) {})),
		boundtest.Field("HandshakeTimeout", boundtest.None, boundtest.None, due(func(c *epollConn) { c.life = lifeHandshaking })),
		boundtest.Field("MessageTimeout", boundtest.None, boundtest.None, due(func(c *epollConn) { c.needLocked().since = c.now() })),
		boundtest.Field("PingInterval", boundtest.None, boundtest.None, due(func(c *epollConn) { c.codec, c.heard = &pings{}, c.active.Load() })),
	) // TestBounds tests the defaults
}
