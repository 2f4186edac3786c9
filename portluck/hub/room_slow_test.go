package hub

import (
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/portluck/portluck/handlers"
)

// The room keeps the messages that a delivery is about to send.
func TestRoomDropsWhileItSends(t *testing.T) {
	h, r := roomOf(RoomOptions{Ring: 2, Policy: DropOldest})
	var got []string
	full := true
	s := &single{}
	s.take = func(msg string) error {
		if full {
			return handlers.ErrSlow
		}
		if got = append(got, msg); msg == "1" {
			r.mu.Lock() // as another Publish would
			defer r.mu.Unlock()
			r.ring.drop(r.ring.next)
		}
		return nil
	}
	c := s.client(h)
	r.Join(c)
	publish(r, 1, 2)
	full = false
	c.rooms.Drained()
	publish(r, 8, 8)
	eventually(t, "nothing is kept", func() bool { return r.kept() == 0 })
	if want := []string{"1", "2", "8"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// A client whose stream has ended does not count as having taken messages.
func TestRoomCountsWhatWasTaken(t *testing.T) {
	h, r := roomOf(RoomOptions{})
	s := &single{take: func(string) error { return handlers.ErrClosed }}
	r.Join(s.client(h))
	publish(r, 1, 3)
	if got := r.Stats().Delivered; got != 0 {
		t.Errorf("delivered = %d, want 0", got)
	}
	if n := r.kept(); n != 0 {
		t.Errorf("%d messages are kept for it", n)
	}
}

// MaxLatency holds for each member, even if nothing more is published.
func TestRoomMaxLatencyOfEach(t *testing.T) {
	for _, policy := range []Policy{Disconnect, DropOldest} {
		synctest.Test(t, func(t *testing.T) {
			var slow atomic.Int64
			h, r := roomOf(RoomOptions{Policy: policy, MaxLatency: time.Second, OnSlow: func(_ *Room, _ *Client, missed uint64) {
				slow.Add(int64(missed))
			}})
			first, second := &sink{}, &sink{room: 2}
			r.Join(first.client(h))
			r.Join(second.client(h))
			publish(r, 1, 1)
			time.Sleep(900 * time.Millisecond)
			publish(r, 2, 2)
			// the first member is late with message 1, the second not yet with message 2
			time.Sleep(102 * time.Millisecond)
			if got := slow.Load(); got != map[Policy]int64{Disconnect: 2, DropOldest: 1}[policy] {
				t.Errorf("missed %d after a second", got)
			}
			time.Sleep(900 * time.Millisecond)
			synctest.Wait()
			if got := slow.Load(); got != 3 {
				t.Errorf("missed %d when everything is late, want 3", got)
			}
		})
	}
}
