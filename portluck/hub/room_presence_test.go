package hub

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/portluck/portluck/handlers"
)

// as makes a client of this user.
func as(h *Hub, user string) *Client {
	b := h.binding.Load()
	if b == nil {
		b = Bind(h, nil, false)
	}
	info := &handlers.Info{Protocol: handlers.ProtocolTCP}
	if user != "" {
		info.Login = &handlers.Login{User: user}
	}
	s := b.NewSession(info, &sink{room: -1})
	if err := s.Connect(nil); err != nil {
		panic(err)
	}
	return s.Client()
}

// folded is who is there, after all that was told.
type folded struct {
	mu   sync.Mutex
	who  map[string]bool
	told []string
	bad  []string
}

func name(m Member) string {
	if m.User != "" {
		return m.User
	}
	return fmt.Sprint(m.ID)
}

func (f *folded) note(joined, left []Member) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.who == nil {
		f.who = map[string]bool{}
	}
	for _, m := range left {
		if !f.who[name(m)] {
			f.bad = append(f.bad, "-"+name(m))
		}
		delete(f.who, name(m))
		f.told = append(f.told, "-"+name(m))
	}
	for _, m := range joined {
		if f.who[name(m)] {
			f.bad = append(f.bad, "+"+name(m))
		}
		f.who[name(m)] = true
		f.told = append(f.told, "+"+name(m))
	}
}

func (f *folded) want(t *testing.T, want ...string) {
	t.Helper()
	synctest.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	if !slices.Equal(f.told, want) || len(f.bad) > 0 {
		t.Errorf("told %q, of which %q is wrong, want %q", f.told, f.bad, want)
	}
	f.told = nil
}

func TestPresence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &folded{}
		h, r := roomOf(RoomOptions{OnPresence: func(r *Room, joined, left []Member) {
			if r.Name() != "x" {
				t.Errorf("room %q", r.Name())
			}
			f.note(joined, left)
		}})
		begun := time.Now()
		a, b, c := as(h, "ann"), as(h, ""), as(h, "ann")
		r.Join(a)
		f.want(t, "+ann")
		time.Sleep(time.Second)
		r.Join(b)
		f.want(t, "+2")
		r.Join(c)
		f.want(t)
		got, err := r.Presence(t.Context())
		want := []Member{{1, "ann", begun}, {2, "", begun.Add(time.Second)}, {3, "ann", begun.Add(time.Second)}}
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("Presence() = %v, %v, want %v", got, err, want)
		}
		r.Leave(a)
		time.Sleep(time.Minute)
		f.want(t) // c is there still
		r.Leave(c)
		r.Leave(b)
		time.Sleep(time.Second - 1)
		r.Join(b) // in time
		d := as(h, "ann")
		r.Join(d)
		time.Sleep(time.Minute)
		f.want(t)
		(*Session)(d).Disconnect(nil)
		time.Sleep(999 * time.Millisecond)
		r.Leave(b)
		f.want(t)
		time.Sleep(time.Millisecond)
		f.want(t, "-ann")
		time.Sleep(time.Second)
		f.want(t, "-2")
		if len(h.rooms) != 0 {
			t.Error("the room is not forgotten")
		}
	})
}

// Without a grace each leave is told. The room that the hub has forgotten tells nothing late.
func TestPresenceWithoutGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &folded{}
		o := RoomOptions{PresenceGrace: -1, OnPresence: func(_ *Room, joined, left []Member) { f.note(joined, left) }}
		h := &Hub{RoomOptions: func(string) RoomOptions { return o }}
		a := as(h, "ann")
		for range 3 {
			h.Room("x").Join(a)
			f.want(t, "+ann")
			h.Room("x").Leave(a)
			f.want(t, "-ann")
		}
	})
}

// Whatever members do, what is told adds up to who is there, for OnPresence and for watchers, also
// those that come later.
func TestPresenceAddsUp(t *testing.T) {
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 1))
			first := &folded{}
			all := []*folded{first}
			o := RoomOptions{OnPresence: func(_ *Room, joined, left []Member) { first.note(joined, left) }}
			h := &Hub{RoomOptions: func(string) RoomOptions { return o }}
			var clients []*Client
			for i := range 9 {
				clients = append(clients, as(h, []string{"", "ann", "bob"}[i%3]))
			}
			var wg sync.WaitGroup
			for range 300 {
				c, join, nap := clients[rnd.IntN(len(clients))], rnd.IntN(2) == 0, rnd.IntN(4) == 0
				wg.Go(func() {
					if join {
						h.Room("x").Join(c)
					} else {
						h.Room("x").Leave(c)
					}
				})
				if nap {
					time.Sleep(time.Duration(rnd.IntN(700)) * time.Millisecond)
				}
				if len(all) < 4 && rnd.IntN(50) == 0 {
					f := &folded{}
					all = append(all, f)
					t.Cleanup(WatchPresence(h.Room("x"), f.note))
				}
			}
			wg.Wait()
			time.Sleep(time.Minute)
			synctest.Wait()
			want := map[string]bool{}
			here, _ := h.Room("x").Presence(t.Context())
			for _, m := range here {
				want[name(m)] = true
			}
			for i, f := range all {
				if len(f.bad) > 0 || fmt.Sprint(f.who) != fmt.Sprint(want) && len(f.who)+len(want) > 0 {
					t.Errorf("seed %d: listener %d believes %v, told wrongly %q, there are %v", seed, i, f.who, f.bad, want)
				}
			}
		})
	}
}

// A room that does not record presence knows who is there.
func TestPresenceNotRecorded(t *testing.T) {
	h, r := roomOf(RoomOptions{})
	r.Join(as(h, "ann"))
	defer WatchPresence(r, func([]Member, []Member) { t.Error("it is told") })()
	got, err := r.Presence(t.Context())
	if want := []Member{{ID: 1, User: "ann"}}; err != nil || !slices.Equal(got, want) {
		t.Errorf("Presence() = %v, %v, want %v", got, err, want)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Presence(ctx); err == nil {
		t.Error("Presence of a context that has ended gives no error")
	}
}

// A user that is left out does not get its message by coming back, on any device that comes later.
func TestPublishExceptUser(t *testing.T) {
	h, r := roomOf(RoomOptions{History: 5})
	said := func(c *Client) string {
		s := c.stream.(*sink)
		return fmt.Sprint(s.lines())
	}
	ann, phone, away, bob := as(h, "ann"), as(h, "ann"), as(h, "ann"), as(h, "bob")
	for _, c := range []*Client{ann, phone, bob} {
		r.Join(c)
	}
	post(t, r, "hi", &PublishOptions{Except: ann})
	again, bobAgain, anon := as(h, "ann"), as(h, "bob"), as(h, "")
	for _, c := range []*Client{away, again, bobAgain, anon} {
		r.Join(c)
	}
	for c, want := range map[*Client]string{
		ann: "[]", phone: "[hi\n]", bob: "[hi\n]", away: "[hi\n]", again: "[]", bobAgain: "[hi\n]", anon: "[hi\n]",
	} {
		if got := said(c); got != want {
			t.Errorf("client %d got %q, want %q", c.ID(), got, want)
		}
	}
	if all, _, _ := (*Session)(as(h, "ann")).Since(r, handlers.Position{}); len(all) != 0 {
		t.Errorf("Since() = %v, want nothing", all)
	}
}
