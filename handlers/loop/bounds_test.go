package loop

import (
	"bytes"
	"testing"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/internal/boundtest"
)

// Zero is the default of a bound, and a negative value means no bound.
func TestBounds(t *testing.T) {
	boundtest.Check(t, []string{"Driver", "Timeout", "HandshakeTimeout", "MessageTimeout", "PingInterval"},
		boundtest.Field("CloseTimeout", int64(closeWait), boundtest.None, func(l *Loop) int64 { return int64(l.closeTimeout()) }),
		boundtest.Field("MaxQueue", 1<<20, boundtest.None, func(l *Loop) int64 { return int64(l.maxQueue()) }),
	) // TestDeadlines and TestDriversPing test the last four
}

// The wait for the answer to a farewell is bounded, even without CloseTimeout.
func TestQuitTime(t *testing.T) {
	for _, l := range []*Loop{{}, {CloseTimeout: -1}, {CloseTimeout: 2 * closeWait}} {
		if got := l.quitTime(); got != closeWait {
			t.Errorf("CloseTimeout %v: quitTime() = %v, want %v", l.CloseTimeout, got, closeWait)
		}
	}
}

// Without a bound any number of bytes may wait for a peer that does not read.
func TestDriversUnboundedQueue(t *testing.T) {
	eachDriver(t, func() *Loop { return &Loop{MaxQueue: -1} }, func(t *testing.T, r *rig) {
		c, rec, _ := r.connect(t, handlers.Attachment{Codec: &lines{}})
		start(c, rec)
		part := bytes.Repeat([]byte("."), 1<<20)
		for i := range 16 {
			if err := c.TrySend(part, handlers.Auto); err != nil {
				t.Errorf("TrySend() of MiB %d = %v", i, err)
				break
			}
		}
		c.Destroy()
		<-rec.gone
	})
}
