package hub

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/portluck/portluck/handlers"
)

// Rooms cost memory for their members, not for their rings.
func TestRoomMemory(t *testing.T) { // not parallel: it measures the process
	const rooms, members = 5000, 10
	h := &Hub{}
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	s, who := &sink{}, &identity{binding: Bind(h, nil, false), info: &handlers.Info{}}
	before := heap()
	keep := make([]*Room, rooms)
	for i := range keep {
		keep[i] = h.Room(fmt.Sprint(i))
		for range members {
			c := &Client{stream: s}
			c.setIdentity(who)
			keep[i].Join(c)
		}
		keep[i].Publish(text("hello"))
	}
	per := (heap() - before) / (rooms * members)
	t.Logf("%d bytes for each membership, its client included", per)
	if per > 480 {
		t.Errorf("%d bytes for each membership", per)
	}
	runtime.KeepAlive(keep)
}
