package hub

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/portluck/portluck/handlers"
)

// History that is too old is given to nobody, and freed.
func TestRoomHistoryAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, r := roomOf(RoomOptions{History: 3, HistoryAge: 10 * time.Second})
		since := func(p handlers.Position, complete bool, want ...string) {
			t.Helper()
			s := &sink{room: -1}
			c := s.client(h)
			defer (*Session)(c).Disconnect(nil)
			if got, err := r.JoinSince(c, p); got != complete || err != nil {
				t.Errorf("JoinSince() = %t, %v, want %t", got, err, complete)
			}
			all, _, got := r.Since(p)
			if len(all) != len(want) || got != complete {
				t.Errorf("Since() = %v, %t, want %q, %t", all, got, want, complete)
			}
			wantLines(t, s, want...)
		}
		epoch := r.Publish(text("1")).Epoch
		time.Sleep(4 * time.Second)
		publish(r, 2, 3)
		time.Sleep(6*time.Second - 1)
		since(handlers.Position{Epoch: epoch}, true, "1", "2", "3")
		time.Sleep(1 * time.Nanosecond) // the first is as old as it may be
		since(handlers.Position{Epoch: epoch}, false, "2", "3")
		since(handlers.Position{Epoch: epoch, Seq: 1}, true, "2", "3")
		since(handlers.Position{Epoch: epoch, Seq: 2}, true, "3")
		if n := r.kept(); n != 2 {
			t.Errorf("%d messages are kept, want 2", n)
		}
		publish(r, 4, 5) // the count still holds
		since(handlers.Position{}, false, "3", "4", "5")
		time.Sleep(9 * time.Second)
		since(handlers.Position{Epoch: epoch, Seq: 2}, false, "4", "5")
		since(handlers.Position{Epoch: epoch, Seq: 5}, true)
		time.Sleep(time.Second)
		synctest.Wait()
		if n := r.kept(); n != 0 || len(h.rooms) != 0 {
			t.Errorf("%d messages are kept, the hub knows %d rooms, want none", n, len(h.rooms))
		}
		since(handlers.Position{Epoch: epoch, Seq: 5}, false) // nobody knows any more
		publish(r, 6, 6)
		since(handlers.Position{}, false, "6")
	})
}

// A slow member gets what is too old for others, and a room with members is not forgotten.
func TestRoomHistoryAgeOfASlowMember(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, r := roomOf(RoomOptions{History: 3, HistoryAge: time.Second})
		slow, late := &sink{room: 0}, &sink{room: -1}
		r.Join(slow.client(h))
		publish(r, 1, 2)
		time.Sleep(time.Hour)
		publish(r, 3, 3)
		r.Join(late.client(h))
		wantLines(t, late, "3")
		slow.read(-1)
		wantLines(t, slow, "1", "2", "3")
		time.Sleep(time.Second)
		synctest.Wait()
		if n := r.kept(); n != 0 || len(h.rooms) != 1 {
			t.Errorf("%d messages are kept, the hub knows %d rooms, want 0 and 1", n, len(h.rooms))
		}
		at := r.Position()
		publish(r, 4, 4)
		if all, _, complete := r.Since(at); len(all) != 1 || !complete {
			t.Errorf("Since() = %v, %t", all, complete)
		}
	})
}
