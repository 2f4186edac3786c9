package hub

import (
	"bytes"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func roomOf(o RoomOptions) (*Hub, *Room) {
	h := &Hub{RoomOptions: func(string) RoomOptions { return o }}
	return h, h.Room("x")
}

func (r *Room) kept() int {
	r = r.lock()
	defer r.mu.Unlock()
	return len(r.ring.messages)
}

// The history does not count as messages that a member has yet to get.
func TestRoomBackpressureWithHistory(t *testing.T) {
	for _, o := range []RoomOptions{{Ring: 4, History: 4}, {Ring: 100, History: 50, RingBytes: 3}} {
		o.Policy = Backpressure
		h, r := roomOf(o)
		publish(r, 1, 20)
		s := &sink{room: -1}
		r.Join(s.client(h))
		publish(r, 21, 23)
		if got := s.lines(); !slices.Equal(got[len(got)-4:], []string{"20\n", "21\n", "22\n", "23\n"}) {
			t.Errorf("got %q", got)
		}
	}
}

// A member may drain or leave during a delivery that has counted it as behind.
func TestRoomDrainedDuringDelivery(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		act  func(slow *sink, c *Client)
	}{
		{"drained", func(slow *sink, _ *Client) { slow.read(-1) }},
		{"left", func(_ *sink, c *Client) { (*Session)(c).Disconnect(nil) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h, r := roomOf(RoomOptions{Ring: 1, Policy: Backpressure})
			first, slow := &sink{room: -1}, &sink{room: 2}
			var once sync.Once
			var c *Client
			middle := &hooked{sink{room: -1}, func() {
				if r.Stats().Published == 2 {
					once.Do(func() {
						go tt.act(slow, c) // ends when this visit pauses
						time.Sleep(20 * time.Millisecond)
					})
				}
			}}
			for i := range 200 {
				switch i {
				case 1:
					c = slow.client(h)
					r.Join(c)
				case 70:
					r.Join(middle.client(h))
				default:
					r.Join(first.client(h))
				}
			}
			publish(r, 1, 5)
			eventually(t, "nothing is kept", func() bool { return r.kept() == 0 })
			if got, want := len(first.lines()), 5*198; got != want {
				t.Errorf("the others have %d messages, want %d", got, want)
			}
		})
	}
}

// A client that joins a flooded room with history gets messages or is disconnected as slow. The
// room never forgets it.
func TestRoomJoinsInAFlood(t *testing.T) {
	t.Parallel()
	h, r := roomOf(RoomOptions{Ring: 1, History: 1, Policy: Disconnect})
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() { // ends when all have joined
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				publish(r, i, i)
			}
		}
	})
	all := make([]*sink, 2000)
	for i := range all {
		all[i] = &sink{room: -1}
		if err := r.Join(all[i].client(h)); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	wg.Wait()
	r.Publish(text("last"))
	eventually(t, "everything is delivered", func() bool { return r.kept() <= 1 && !r.delivers() })
	for i, s := range all {
		if lines := s.lines(); !s.destroyed() && (len(lines) == 0 || lines[len(lines)-1] != "last\n") {
			t.Fatalf("member %d has nothing of the last message", i)
		}
	}
}

func (r *Room) delivers() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.ContainsFunc(r.groups, func(g *group) bool { return g.running })
}

// A Publish returns although other goroutines go on publishing: it does not deliver their messages.
func TestRoomPublishReturns(t *testing.T) {
	h, r := roomOf(RoomOptions{})
	var done atomic.Bool
	s := &hooked{sink{room: -1}, func() {
		if !done.Load() {
			publish(r, 2, 2)
		}
	}}
	r.Join(s.client(h))
	returned := make(chan struct{})
	go func() {
		publish(r, 1, 1)
		close(returned)
	}()
	select {
	case <-returned:
	case <-time.After(patience):
		t.Error("Publish has not returned")
	}
	done.Store(true)
	eventually(t, "everything is delivered", func() bool { return !r.delivers() })
}

// Members come and go during deliveries: those that stay get every message once.
func TestRoomMembersChangePlaces(t *testing.T) {
	t.Parallel()
	h, r := roomOf(RoomOptions{Ring: 8, Policy: Backpressure, MaxLatency: time.Millisecond})
	stay := make([]*sink, 300)
	for i := range stay {
		stay[i] = &sink{room: -1}
		r.Join(stay[i].client(h))
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					c := (&sink{room: -1}).client(h)
					r.Join(c)
					(*Session)(c).Disconnect(nil)
				}
			}
		})
	}
	const n = 500
	publish(r, 1, n)
	close(stop)
	wg.Wait()
	eventually(t, "everything is delivered", func() bool { return r.kept() == 0 })
	var want bytes.Buffer
	for i := range n {
		fmt.Fprintln(&want, i+1)
	}
	for i, s := range stay {
		if !bytes.Equal(s.got.Bytes(), want.Bytes()) {
			t.Fatalf("member %d has %d lines, not all in order", i, len(s.lines()))
		}
	}
}

// If a member leaves after a delivery has visited all, the members that move to other places in the
// list know their new places.
func TestRoomPlacesAfterLeave(t *testing.T) {
	t.Parallel()
	h, r := roomOf(RoomOptions{})
	all := make([]*Client, yieldEvery)
	var once sync.Once
	for i := range all {
		s := &hooked{sink{room: -1}, func() {}}
		if i == 10 {
			s.hook = func() {
				once.Do(func() {
					go r.Leave(all[5]) // ends when this visit pauses
					time.Sleep(20 * time.Millisecond)
				})
			}
		}
		all[i] = s.client(h)
		r.Join(all[i])
	}
	publish(r, 1, 1)
	eventually(t, "it has left", func() bool { return r.Len() == yieldEvery-1 && !r.delivers() })
	for i, m := range r.groups[0].members {
		if int(m.at) != i {
			t.Fatalf("the member at %d believes to be at %d", i, m.at)
		}
	}
	for _, c := range all {
		r.Leave(c)
	}
	if len(h.rooms) != 0 {
		t.Error("the room is not forgotten")
	}
}
