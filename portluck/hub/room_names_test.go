package hub

import (
	"testing"

	"github.com/portluck/portluck/handlers"
)

// Rooms without members cost nothing, whichever methods are called.
func TestRoomsAreForgotten(t *testing.T) {
	h := &Hub{RoomOptions: func(name string) RoomOptions { return RoomOptions{History: len(name) - 1} }}
	for _, name := range []string{"x", "with history"} {
		r := h.Room(name)
		_, _, _, _ = r.Len(), r.Members(), r.Position(), r.Stats()
		r.Since(handlers.Position{})
		r.Leave((&sink{}).client(h))
		if news, _ := Watch(r, handlers.Position{}); news != nil {
			t.Error("the first poll waits")
		}
		for range 2 { // a second poll waits too, although the room was forgotten
			news, done := Watch(h.Room(name), handlers.Position{Epoch: 1})
			if news == nil || len(h.rooms) != 1 {
				t.Fatal("the next poll does not wait")
			}
			done()
		}
		news, done := Watch(h.Room(name), handlers.Position{Epoch: 1})
		publish(h.Room(name), 1, 1)
		<-news
		done()
	}
	publish(h.Room("y"), 1, 1)
	if len(h.rooms) != 1 || h.rooms["with history"] == nil {
		t.Errorf("the hub has the rooms %v", h.rooms)
	}
}

// RoomOptions may use the hub.
func TestRoomOptionsUsesTheHub(t *testing.T) {
	h := &Hub{}
	h.RoomOptions = func(name string) RoomOptions {
		if name == "child" {
			return h.Room("parent").opts
		}
		return RoomOptions{Ring: 7}
	}
	if got := h.Room("child").opts.Ring; got != 7 {
		t.Errorf("Ring = %d", got)
	}
}

// The room of Broadcast is the room "".
func TestRoomOfBroadcast(t *testing.T) {
	h := &Hub{}
	s := &sink{room: -1}
	s.client(h)
	h.Room("").Publish(text("1"))
	h.Broadcast(text("2"))
	wantLines(t, s, "1", "2")
	if got := h.Room("").Stats().Delivered; got != 2 {
		t.Errorf("delivered = %d", got)
	}
}
