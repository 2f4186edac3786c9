package hub

import (
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/mesh"
)

// Every server gets the messages of an origin in the order of their numbers.
func TestCarryOrder(t *testing.T) {
	const publishers, each = 8, 501
	var w wire
	options := func(string) RoomOptions { return RoomOptions{Ring: publishers * each} }
	hubs := make([]*Hub, 3)
	rooms := []string{"x", "y", "z"}
	got := map[string][]*sink{}
	for i := range hubs {
		hubs[i] = &Hub{RoomOptions: options, OnGap: func(o string, n uint64) { t.Errorf("OnGap(%q, %d)", o, n) }}
		if err := hubs[i].Carry(w.port(string('a' + rune(i)))); err != nil {
			t.Fatal(err)
		}
		for _, name := range rooms {
			s := &sink{room: -1}
			got[name] = append(got[name], s)
			if err := hubs[i].Room(name).Join(s.client(hubs[i])); err != nil {
				t.Fatal(err)
			}
		}
	}
	var wg sync.WaitGroup
	for p := range publishers {
		wg.Go(func() {
			for n := range each {
				r := hubs[0].Room(rooms[n%len(rooms)])
				m := text(fmt.Sprintf("%d.%d", p, n))
				if n%2 == 0 {
					r.Publish(m)
				} else if _, err := r.TryPublish(m); err != nil {
					r.Publish(m)
				}
			}
		})
	}
	wg.Wait()
	for _, name := range rooms {
		for _, s := range got[name] {
			eventually(t, "all has come", func() bool { return len(s.lines()) == publishers*each/len(rooms) })
		}
		want := got[name][0].lines()
		for i, s := range got[name][1:] {
			if lines := s.lines(); !slices.Equal(lines, want) {
				t.Errorf("server %d has room %q not in the order of its origin: %q, want %q", i+1, name, lines, want)
			}
		}
	}
}

// slowWire is a backplane that holds each message until the test releases it.
type slowWire struct {
	handlers.Backplane
	next chan struct{}
	got  []string
}

func (*slowWire) Subscribe(handlers.Subscriber) error { return nil }

func (w *slowWire) Publish(_ string, m handlers.Message) error {
	<-w.next
	w.got = append(w.got, m.String())
	return nil
}

// Publishers wait for a slow backplane once a bounded number of messages is queued. Nothing is
// lost.
func TestCarrySlow(t *testing.T) {
	for _, tt := range []struct {
		name string
		size int // of a message
		most int // messages that wait
	}{{"messages", 10, maxOutgoing}, {"bytes", 1_000_000, 5}} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &slowWire{next: make(chan struct{})}
				h := &Hub{}
				if err := h.Carry(w); err != nil {
					t.Fatal(err)
				}
				r, done := h.Room("x"), 0
				publish := func(i int) { r.Publish(text(fmt.Sprintf("%0*d", tt.size, i))) }
				go publish(0) // it waits for the backplane itself
				synctest.Wait()
				go func() {
					for i := range tt.most + 1 {
						publish(i + 1)
						done++
					}
				}()
				synctest.Wait()
				if done != tt.most {
					t.Errorf("%d Publish returned while the backplane was stuck, want %d", done, tt.most)
				}
				if _, err := r.TryPublish(text("no")); err != handlers.ErrSlow {
					t.Errorf("TryPublish = %v, want ErrSlow", err)
				}
				close(w.next)
				synctest.Wait()
				if len(w.got) != tt.most+2 || done != tt.most+1 {
					t.Fatalf("%d messages were carried and %d Publish returned", len(w.got), done)
				}
				for i, got := range w.got {
					if want := fmt.Sprintf("%0*d", tt.size, i); got != want {
						t.Fatalf("message %d is %.20q", i, got)
					}
				}
				if h.outbox.bytes != 0 || h.outbox.posting {
					t.Errorf("the outbox has %d bytes, posting %v", h.outbox.bytes, h.outbox.posting)
				}
			})
		})
	}
}

// The order holds over a mesh too.
func TestCarryOrderMesh(t *testing.T) {
	const publishers, each = 8, 100
	var hubs []*Hub
	known := make(chan mesh.Static, 1)
	known <- nil
	met := func() bool { return false }
	for _, id := range []string{"0B", "0A"} {
		plane := &mesh.Backplane{}
		met = func() bool { return plane.Stats().Nodes == 1 }
		h := &Hub{RoomOptions: func(string) RoomOptions { return RoomOptions{Ring: 1 << 10, History: 1 << 10} }}
		h.OnGap = func(o string, n uint64) { t.Errorf("OnGap(%q, %d)", o, n) }
		if err := h.Carry(plane); err != nil {
			t.Fatal(err)
		}
		node := &mesh.Node{Name: "order", ID: id, Hello: true, OnConnection: plane.Serve, Discovery: <-known}
		node.OnListening = func() {
			a := node.Address()
			known <- mesh.Static{{ID: id, Addrs: []netip.AddrPort{netip.AddrPortFrom(a.Addresses[0], uint16(a.Port))}}}
		}
		if err := node.Listen(0, "localhost"); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			plane.Close()
			node.Close()
		})
		hubs = append(hubs, h)
	}
	eventually(t, "the nodes have met", met)
	var wg sync.WaitGroup
	for p := range publishers {
		wg.Go(func() {
			for n := range each {
				hubs[1].Room("x").Publish(text(fmt.Sprintf("%d.%d", p, n)))
			}
		})
	}
	wg.Wait()
	eventually(t, "all has come", func() bool { return hubs[0].Room("x").Position().Seq == publishers*each })
	want, _, _ := hubs[1].Room("x").Since(handlers.Position{})
	got, _, _ := hubs[0].Room("x").Since(handlers.Position{})
	if len(want) != publishers*each || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the other server has %q, want %q", got, want)
	}
}
