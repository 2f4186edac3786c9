package hub

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/portluck/portluck/handlers"
)

// wire is a backplane between hubs in one process.
type wire struct {
	mu    sync.Mutex
	ports []*wirePort
}

type wirePort struct {
	wire *wire
	name string
	seq  uint64
	sub  handlers.Subscriber
	err  error // of Publish
}

func (w *wire) port(name string) *wirePort {
	p := &wirePort{wire: w, name: name}
	w.ports = append(w.ports, p)
	return p
}

func (p *wirePort) Publish(room string, m handlers.Message) error {
	p.wire.mu.Lock()
	defer p.wire.mu.Unlock()
	if p.err != nil {
		return p.err
	}
	p.seq++
	for _, o := range p.wire.ports {
		if o != p {
			o.sub.Deliver(handlers.Delivery{Origin: p.name, Seq: p.seq, Room: room, Message: m})
		}
	}
	return nil
}

func (p *wirePort) Subscribe(s handlers.Subscriber) error {
	p.sub = s
	return nil
}

func (*wirePort) Close() error { return nil }

// gaps holds the arguments of OnGap.
type gaps struct{ told []string }

func (g *gaps) note(origin string, missed uint64) {
	g.told = append(g.told, fmt.Sprintf("%s:%d", origin, missed))
}

func TestCarry(t *testing.T) {
	var w wire
	var lost gaps
	options := func(name string) RoomOptions {
		return RoomOptions{Local: name == "here", Policy: Backpressure, Ring: 1}
	}
	a, b := &Hub{RoomOptions: options, OnGap: lost.note}, &Hub{RoomOptions: options, OnGap: lost.note}
	pa, pb := w.port("a"), w.port("b")
	for h, p := range map[*Hub]*wirePort{a: pa, b: pb} {
		if err := h.Carry(p); err != nil {
			t.Fatal(err)
		}
		if err := h.Carry(p); err == nil {
			t.Error("the second Carry gives no error")
		}
	}
	here, there, everyone := &sink{room: -1}, &sink{room: -1}, &sink{room: -1}
	a.Room("x").Join(here.client(a))
	b.Room("x").Join(there.client(b))
	b.Room("here").Join(there.client(b))
	c := everyone.client(b)
	a.Room("x").Publish(text("1"))
	if _, err := b.Room("x").TryPublish(text("2")); err != nil {
		t.Error(err)
	}
	a.Room("y").Publish(text("nobody is there"))
	a.Room("here").Publish(text("stays"))
	w.ports[1].sub.Deliver(handlers.Delivery{Origin: "a", Room: "here", Message: text("not welcome")})
	wantLines(t, here, "1", "2") // each once: a hub does not pass on what other hubs publish
	wantLines(t, there, "1", "2")
	a.Broadcast(text("all"))
	wantLines(t, everyone, "all")
	(*Session)(c).Disconnect(nil)
	if len(lost.told) != 0 {
		t.Errorf("OnGap got %q", lost.told)
	}
}

// OnGap reports lost messages: those that the backplane lost, those that a room had no space for,
// and those that could not be sent.
func TestCarryGaps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w wire
		var lost gaps
		options := func(string) RoomOptions { return RoomOptions{Policy: Backpressure, Ring: 1} }
		h, p := &Hub{RoomOptions: options, OnGap: lost.note}, w.port("a")
		if err := h.Carry(p); err != nil {
			t.Fatal(err)
		}
		slow := &sink{room: 0}
		c := slow.client(h)
		h.Room("x").Join(c)
		for range 3 {
			p.sub.Deliver(handlers.Delivery{Origin: "b", Room: "x", Message: text("too many")})
		}
		p.sub.Gap("c", 7, 8)
		p.err = errors.New("no")
		h.Room("y").Publish(text("not sent"))
		if got := fmt.Sprint(lost.told); got != "[b:1 b:1 c:7 :1]" {
			t.Errorf("OnGap got %s", got)
		}
		(*Session)(c).Disconnect(nil)
	})
}
