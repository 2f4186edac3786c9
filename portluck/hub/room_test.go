package hub

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/portluck/portluck/handlers"
)

func publish(r *Room, from, to int) {
	for i := from; i <= to; i++ {
		r.Publish(text(fmt.Sprint(i)))
	}
}

func wantLines(t *testing.T, s *sink, want ...string) {
	t.Helper()
	for i := range want {
		want[i] += "\n"
	}
	if got := s.lines(); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestRoomMembers(t *testing.T) {
	h := &Hub{}
	a, b := &sink{room: -1}, &sink{room: -1}
	ca, cb := a.client(h), b.client(h)
	r := h.Room("x")
	publish(r, 1, 1) // nobody
	for range 2 {    // the second does nothing
		if err := r.Join(ca); err != nil {
			t.Fatal(err)
		}
	}
	publish(r, 2, 2)
	r.Join(cb)
	publish(r, 3, 3)
	if got, want := r.Len(), 2; got != want || len(r.Members()) != want {
		t.Errorf("Len() = %d, Members() = %v, want %d", got, r.Members(), want)
	}
	r.Leave(ca)
	r.Leave(ca)
	publish(r, 4, 4)
	(*Session)(cb).Disconnect(nil)
	publish(r, 5, 5)
	wantLines(t, a, "2", "3")
	wantLines(t, b, "3", "4")
	if err := r.Join(cb); !errors.Is(err, handlers.ErrClosed) {
		t.Errorf("Join of a client that is gone = %v, want ErrClosed", err)
	}
	if got := r.Len(); got != 0 {
		t.Errorf("Len() = %d after all have left", got)
	}
}

// The hub forgets a room without members and history. A *Room that the program still has then
// stands for its successor.
func TestRoomIsForgotten(t *testing.T) {
	h := &Hub{}
	s := &sink{room: -1}
	c := s.client(h)
	r := h.Room("x")
	r.Join(c)
	before := r.Position()
	r.Leave(c)
	if len(h.rooms) != 0 {
		t.Errorf("the hub has %d rooms", len(h.rooms))
	}
	if got := r.Position(); got.Epoch == before.Epoch {
		t.Error("the epoch is the same")
	}
	r.Join(c)
	publish(h.Room("x"), 1, 1)
	wantLines(t, s, "1")
}

func TestRoomHistory(t *testing.T) {
	h := &Hub{RoomOptions: func(string) RoomOptions { return RoomOptions{History: 3} }}
	r := h.Room("x")
	publish(r, 1, 5)
	s := &sink{room: -1}
	r.Join(s.client(h))
	publish(r, 6, 6)
	wantLines(t, s, "3", "4", "5", "6")
	at := handlers.Position{Epoch: r.Position().Epoch, Seq: 4}
	tests := []struct {
		name     string
		p        handlers.Position
		want     []string
		complete bool
	}{
		{"in the ring", at, []string{"5", "6"}, true},
		{"the last", r.Position(), nil, true},
		{"just before the first that is kept", handlers.Position{Epoch: at.Epoch, Seq: 3}, []string{"4", "5", "6"}, true},
		{"too old", handlers.Position{Epoch: at.Epoch, Seq: 2}, []string{"4", "5", "6"}, false},
		{"zero", handlers.Position{}, []string{"4", "5", "6"}, false},
		{"of another epoch", handlers.Position{Epoch: at.Epoch + 1, Seq: 5}, []string{"4", "5", "6"}, false},
		{"not there yet", handlers.Position{Epoch: at.Epoch, Seq: 7}, []string{"4", "5", "6"}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			all, now, complete := r.Since(tt.p)
			var got []string
			for _, m := range all {
				got = append(got, m.String())
			}
			if !slices.Equal(got, tt.want) || complete != tt.complete || now != r.Position() {
				t.Errorf("Since() = %q, %v, %t, want %q, %t", got, now, complete, tt.want, tt.complete)
			}
			s := &sink{room: -1}
			complete, err := r.JoinSince(s.client(h), tt.p)
			if complete != tt.complete || err != nil {
				t.Errorf("JoinSince() = %t, %v, want %t", complete, err, tt.complete)
			}
			wantLines(t, s, slices.Clone(tt.want)...)
		})
	}
}

// Each policy applies to a member that takes 5 bytes, which are two and a half messages, and then
// nothing for a while. The ring has 4 messages.
func TestRoomPolicies(t *testing.T) {
	tests := []struct {
		name   string
		policy Policy
		want   []string // what it gets
		missed uint64
		gone   bool
	}{
		{"disconnect", Disconnect, []string{"1", "2", "3"}, 5, true},
		{"skip to latest", SkipToLatest, []string{"1", "2", "3", "8", "9", "10"}, 4, false},
		{"drop oldest", DropOldest, []string{"1", "2", "3", "7", "8", "9", "10"}, 3, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var slow []string
			h := &Hub{}
			h.RoomOptions = func(string) RoomOptions {
				return RoomOptions{Ring: 4, Policy: tt.policy, OnSlow: func(_ *Room, _ *Client, missed uint64) {
					slow = append(slow, fmt.Sprint(missed))
				}}
			}
			r := h.Room("x")
			good, bad := &sink{room: -1}, &sink{room: 5}
			r.Join(good.client(h))
			c := bad.client(h)
			r.Join(c)
			publish(r, 1, 10)
			wantLines(t, good, "1", "2", "3", "4", "5", "6", "7", "8", "9", "10")
			if got := bad.destroyed(); got != tt.gone {
				t.Errorf("destroyed: %t, want %t", got, tt.gone)
			}
			bad.read(-1)
			if tt.gone {
				(*Session)(c).Disconnect(nil)
			}
			wantLines(t, bad, tt.want...)
			stats := r.Stats()
			if got := stats.Missed; got < tt.missed || len(slow) == 0 || uint64(len(slow)) != stats.Slow {
				t.Errorf("missed = %d, slow = %q, %d, want %d", got, slow, stats.Slow, tt.missed)
			}
			if got, want := stats.Delivered, uint64(10+len(tt.want)); got != want || stats.Published != 10 {
				t.Errorf("delivered = %d of %d, want %d", got, stats.Published, want)
			}
			if n := len(r.ring.messages); n != 0 && !tt.gone {
				t.Errorf("%d messages are kept although everyone has them", n)
			}
		})
	}
}

func TestRoomBackpressure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &Hub{RoomOptions: func(string) RoomOptions { return RoomOptions{Ring: 4, Policy: Backpressure} }}
		r := h.Room("x")
		good, bad := &sink{room: -1}, &sink{room: 0}
		r.Join(good.client(h))
		r.Join(bad.client(h))
		publish(r, 1, 4)
		if _, err := r.TryPublish(text("no")); !errors.Is(err, handlers.ErrSlow) {
			t.Errorf("TryPublish = %v, want ErrSlow", err)
		}
		done := make(chan struct{})
		go func() {
			publish(r, 5, 6)
			close(done)
		}()
		synctest.Wait()
		select {
		case <-done:
			t.Fatal("Publish has not waited")
		default:
		}
		bad.read(-1)
		<-done
		wantLines(t, good, "1", "2", "3", "4", "5", "6")
		wantLines(t, bad, "1", "2", "3", "4", "5", "6")
	})
}

// A publisher that waits for a member goes on when that member leaves.
func TestRoomBackpressureLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &Hub{RoomOptions: func(string) RoomOptions { return RoomOptions{Ring: 1, Policy: Backpressure} }}
		r := h.Room("x")
		good, bad := &sink{room: -1}, &sink{room: 0}
		r.Join(good.client(h))
		c := bad.client(h)
		r.Join(c)
		time.AfterFunc(time.Second, func() { (*Session)(c).Disconnect(nil) })
		publish(r, 1, 5)
		wantLines(t, good, "1", "2", "3", "4", "5")
	})
}

func TestRoomMaxLatency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &Hub{RoomOptions: func(string) RoomOptions { return RoomOptions{MaxLatency: time.Second} }}
		r := h.Room("x")
		bad := &sink{room: 0}
		r.Join(bad.client(h))
		publish(r, 1, 1)
		time.Sleep(999 * time.Millisecond)
		if bad.destroyed() {
			t.Error("destroyed too early")
		}
		time.Sleep(2 * time.Millisecond)
		synctest.Wait()
		if !bad.destroyed() {
			t.Error("not destroyed after MaxLatency")
		}
	})
}

func TestClientRooms(t *testing.T) {
	h := &Hub{}
	c := (&sink{room: -1}).client(h)
	rooms := func() string {
		var names []string
		for _, r := range c.Rooms() {
			names = append(names, r.Name())
		}
		slices.Sort(names)
		return fmt.Sprintf("%q", names)
	}
	for _, step := range []struct {
		do   func()
		want string
	}{
		{func() {}, `[]`},
		{func() { h.Room("b").Join(c); h.Room("a").Join(c); h.Room("a").Join(c) }, `["a" "b"]`},
		{func() { h.Room("b").Leave(c) }, `["a"]`},
		{func() { h.Broadcast(text("x")) }, `["" "a"]`},
		{func() { (*Session)(c).Disconnect(nil) }, `[]`},
	} {
		if step.do(); rooms() != step.want {
			t.Errorf("Rooms() = %s, want %s", rooms(), step.want)
		}
	}
}
