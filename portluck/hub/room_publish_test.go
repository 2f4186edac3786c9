package hub

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/portluck/portluck/handlers"
)

// post publishes with options, and fails if that does.
func post(t *testing.T, r *Room, s string, o *PublishOptions) handlers.Position {
	t.Helper()
	at, err := r.PublishContext(t.Context(), text(s), o)
	if err != nil {
		t.Errorf("PublishContext(%q) = %v", s, err)
	}
	return at
}

// kinds makes clients whose streams take framed messages, and others that take one at a time.
func kinds(h *Hub) (framed, alone *Client, got func() (framed, alone string)) {
	s, mu, lines := &sink{room: -1}, sync.Mutex{}, []string{}
	framed = s.client(h)
	alone = (&single{take: func(m string) error {
		mu.Lock()
		defer mu.Unlock()
		lines = append(lines, m)
		return nil
	}}).client(h)
	return framed, alone, func() (string, string) {
		mu.Lock()
		defer mu.Unlock()
		return strings.Join(strings.Fields(strings.Join(s.lines(), " ")), " "), strings.Join(lines, " ")
	}
}

func TestPublishExceptAndTo(t *testing.T) {
	h, r := roomOf(RoomOptions{History: 10})
	a, b, got := kinds(h)
	stranger := (&sink{room: -1}).client(&Hub{}) // has the id of a, at another hub
	r.Join(a)
	r.Join(b)
	isA := func(c *Client) bool { return c == a }
	post(t, r, "all", nil)
	post(t, r, "all2", &PublishOptions{})
	post(t, r, "notA", &PublishOptions{Except: a})
	post(t, r, "all3", &PublishOptions{Except: stranger})
	post(t, r, "onlyA", &PublishOptions{To: isA})
	post(t, r, "nobody", &PublishOptions{To: isA, Except: a})
	post(t, r, "panics", &PublishOptions{To: func(*Client) bool { panic("of the program") }})
	post(t, r, "end", &PublishOptions{To: func(*Client) bool { return true }, Except: b})
	gotA, gotB := got()
	if want := "all all2 all3 onlyA end"; gotA != want {
		t.Errorf("a got %q, want %q", gotA, want)
	}
	if want := "all all2 notA all3"; gotB != want {
		t.Errorf("b got %q, want %q", gotB, want)
	}
	r.Leave(a) // and comes back: to the same history
	r.Join(a)
	if again, _ := got(); again != gotA+" "+gotA {
		t.Errorf("a got %q after it has come back, want it twice", again)
	}
	var all []string
	kept, _, _ := r.Since(handlers.Position{})
	for _, m := range kept {
		all = append(all, m.String())
	}
	if got, want := strings.Join(all, " "), "all all2 notA all3"; got != want {
		t.Errorf("Since() = %q, want %q", got, want)
	}
	mine, at, complete := (*Session)(a).Since(r, handlers.Position{Epoch: r.Position().Epoch, Seq: 2})
	if got := fmt.Sprint(mine); got != "[all3 onlyA end]" || at != r.Position() || !complete {
		t.Errorf("Since() of a = %s, %v, %t", got, at, complete)
	}
	if stats := r.Stats(); stats.Published != 8 || stats.Missed != 0 || stats.Slow != 0 {
		t.Errorf("Stats() = %+v", stats)
	}
}

// A slow member gets what is for it, and no more, once it reads again.
func TestPublishToASlowMember(t *testing.T) {
	h, r := roomOf(RoomOptions{Ring: 100})
	s := &sink{room: 3} // a message and a half
	c := s.client(h)
	r.Join(c)
	var want []string
	for i := range 30 {
		o := &PublishOptions{}
		if i%3 == 1 {
			o.Except = c
		} else {
			want = append(want, fmt.Sprint(i))
		}
		post(t, r, fmt.Sprint(i), o)
	}
	for range 100 {
		s.read(4)
	}
	wantLines(t, s, want...)
	if n := r.kept(); n != 0 {
		t.Errorf("%d messages are kept", n)
	}
	if got := r.Stats().Delivered; got != 20 {
		t.Errorf("delivered = %d, want 20", got)
	}
}

// Who joins while a message with To is published gets it or not as To says, and nobody gets it
// twice.
func TestPublishToWhoJoins(t *testing.T) {
	t.Parallel()
	h, r := roomOf(RoomOptions{History: 500, Ring: 500})
	const n = 60
	sinks := make([]*sink, n)
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range n {
			post(t, r, fmt.Sprint(i), &PublishOptions{To: func(c *Client) bool { return c.ID()%2 == uint64(i%2) }})
		}
	})
	for i := range sinks {
		sinks[i] = &sink{room: -1}
		c := sinks[i].client(h)
		wg.Go(func() {
			r.Join(c)
			if c.ID()%5 == 0 {
				r.Leave(c)
			}
		})
	}
	wg.Wait()
	eventually(t, "everything is delivered", func() bool { return !r.delivers() })
	for i, s := range sinks {
		id, want := i+1, []string(nil)
		for j := range n {
			if id%2 == j%2 {
				want = append(want, fmt.Sprint(j))
			}
		}
		if id%5 != 0 {
			wantLines(t, s, want...)
		}
	}
	for _, d := range r.ring.aimed {
		for id := range d.chosen {
			if id%5 == 0 {
				t.Fatalf("client %d has left and is remembered", id)
			}
		}
	}
}

func TestPublishID(t *testing.T) {
	tests := []struct {
		name    string
		options RoomOptions
		ids     []string
		want    []string // what is sent: the index in ids
	}{
		{"twice", RoomOptions{}, []string{"a", "a", "b", "a", "b"}, []string{"0", "2"}},
		{"none", RoomOptions{}, []string{"", "", ""}, []string{"0", "1", "2"}},
		{"with history", RoomOptions{History: 1}, []string{"a", "b", "a"}, []string{"0", "1"}},
		{"backpressure", RoomOptions{Policy: Backpressure, Ring: 2}, []string{"a", "a", "a"}, []string{"0"}},
		{"as many as the ring", RoomOptions{Ring: 2}, []string{"a", "b", "a", "c", "b", "a"}, []string{"0", "1", "3", "5"}},
		{"as long as the ring", RoomOptions{RingBytes: 5}, []string{"aaa", "bb", "aaa", "c", "aaa", "bb"}, []string{"0", "1", "3", "4", "5"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h, r := roomOf(tt.options)
			s := &sink{room: -1}
			r.Join(s.client(h))
			first := map[string]handlers.Position{}
			sent := 0
			for i, id := range tt.ids {
				before := r.Position()
				at := post(t, r, fmt.Sprint(i), &PublishOptions{ID: id})
				if r.Position() != before {
					first[id], sent = r.Position(), sent+1
				}
				if at != first[id] {
					t.Errorf("message %d: position %v, want %v", i, at, first[id])
				}
			}
			wantLines(t, s, tt.want...)
			if o := &r.opts; len(r.ring.ids.seqs) != len(r.ring.ids.order) || len(r.ring.ids.order) > o.ring() {
				t.Errorf("%d IDs are remembered, in order %d", len(r.ring.ids.seqs), len(r.ring.ids.order))
			}
		})
	}
}

// The end of ctx ends the wait for a member and that for the backplane. Nothing is published then.
func TestPublishContextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &Hub{RoomOptions: func(string) RoomOptions { return RoomOptions{Ring: 2, Policy: Backpressure} }}
		r := h.Room("x")
		s := &sink{room: 0}
		c := s.client(h)
		r.Join(c)
		publish(r, 1, 2)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begun := time.Now()
		for range 2 { // the second time it has ended before
			if at, err := r.PublishContext(ctx, text("no"), nil); !errors.Is(err, context.DeadlineExceeded) || at != (handlers.Position{}) {
				t.Errorf("PublishContext = %v, %v, want the end of ctx", at, err)
			}
		}
		if took := time.Since(begun); took != time.Second {
			t.Errorf("it took %v", took)
		}
		s.read(-1)
		if _, err := r.PublishContext(ctx, text("3"), nil); err != nil {
			t.Errorf("PublishContext that need not wait = %v", err)
		}
		wantLines(t, s, "1", "2", "3")
	})
	synctest.Test(t, func(t *testing.T) {
		w := &slowWire{next: make(chan struct{})}
		h := &Hub{}
		if err := h.Carry(w); err != nil {
			t.Fatal(err)
		}
		r := h.Room("x")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		for i := range maxOutgoing + 1 {
			if _, err := r.PublishContext(ctx, text(fmt.Sprint(i)), nil); err != nil {
				t.Fatalf("message %d: %v", i, err)
			}
			if i == 0 {
				synctest.Wait() // the backplane has it
			}
		}
		if at, err := r.PublishContext(ctx, text("no"), nil); !errors.Is(err, context.DeadlineExceeded) || r.Position().Seq != maxOutgoing+1 {
			t.Errorf("PublishContext = %v, %v, want the end of ctx", at, err)
		}
		close(w.next)
		synctest.Wait()
		if len(w.got) != maxOutgoing+1 {
			t.Errorf("%d messages were carried, want %d", len(w.got), maxOutgoing+1)
		}
	})
}

// Messages with To stay on this server, others go to the other servers.
func TestCarryWithOptions(t *testing.T) {
	var w wire
	a, b := &Hub{}, &Hub{}
	for name, h := range map[string]*Hub{"a": a, "b": b} {
		if err := h.Carry(w.port(name)); err != nil {
			t.Fatal(err)
		}
	}
	here, there := &sink{room: -1}, &sink{room: -1}
	c := here.client(a)
	a.Room("x").Join(c)
	b.Room("x").Join(there.client(b)) // has the id of c
	all := func(*Client) bool { return true }
	post(t, a.Room("x"), "secret", &PublishOptions{To: all})
	post(t, a.Room("x"), "fromHere", &PublishOptions{Except: c, ID: "1"})
	post(t, a.Room("x"), "again", &PublishOptions{ID: "1"})
	if err := a.tasks.Wait(t.Context()); err != nil { // for the backplane
		t.Fatal(err)
	}
	wantLines(t, here, "secret")
	wantLines(t, there, "fromHere")
}
