package loop

import (
	"testing"
	"time"

	"github.com/portluck/portluck/handlers"
)

// told is a Drainer that is called once.
type told chan struct{}

func (f told) Drained() { close(f) }

// A Drainer that waits is called when its connection is retired, which can then send nothing more.
func TestRetireTellsWhoWaits(t *testing.T) {
	eachEpoll(t, noBounds, func(t *testing.T, r *rig) {
		c, rec, client := r.lines(t)
		parking := &lot{}
		c.StartParked(rec, parking)
		within(t, time.Minute, "it is parked", func() bool {
			parking.mu.Lock()
			defer parking.mu.Unlock()
			return parking.parked
		})
		if !parking.Take() {
			t.Fatal("the parking does not have it")
		}
		if err := c.Send([]byte("banner"), handlers.Auto); err != nil {
			t.Fatal(err)
		}
		f := make(told)
		if !c.Drain(f) {
			t.Fatal("nothing is queued")
		}
		if c.Retire() {
			t.Error("Retire() = true, but something was to be sent")
		}
		select {
		case <-f:
		case <-time.After(time.Minute):
			t.Error("nobody tells that nothing can be written any more")
		}
		if _, ok := c.Queued(); ok {
			t.Error("something can still be written")
		}
		client.Close()
		wantEvents(t, rec, "connect", "disconnect <nil>")
	})
}
