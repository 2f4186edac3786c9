package hub

import (
	"reflect"
	"slices"
	"testing"
	"time"
)

// A room always has a ring, so a negative size means the default size. By default a room has no
// history, and no bound on the latency.
func TestBoundsOfARoom(t *testing.T) {
	for value, want := range map[int][6]int{0: {256, 1 << 20, 0, 0, 0, 1e9}, -7: {256, 1 << 20, 0, 0, 0, 0}, 5: {5, 5, 5, 5, 5, 5}} {
		o := &RoomOptions{PresenceGrace: time.Duration(value), Ring: value, RingBytes: value, History: value, MaxLatency: time.Duration(value)}
		age := 0
		if o.HistoryAge = time.Duration(value); o.ages() {
			age = int(o.HistoryAge)
		}
		if got := [6]int{o.ring(), o.ringBytes(), int(o.history()), int(max(o.maxLatency(), 0)), age, int(o.presenceGrace())}; got != want {
			t.Errorf("%d: ring, bytes, history, latency, age and grace are %v, want %v", value, got, want)
		}
	}
	of := reflect.TypeFor[RoomOptions]()
	for i := range of.NumField() {
		f := of.Field(i)
		if f.Type.ConvertibleTo(reflect.TypeFor[int64]()) && !slices.Contains([]string{"Ring", "RingBytes", "History", "HistoryAge", "Policy", "MaxLatency", "PresenceGrace"}, f.Name) {
			t.Errorf("RoomOptions.%s has no row", f.Name)
		}
	}
}
