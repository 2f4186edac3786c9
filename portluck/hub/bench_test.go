package hub

import (
	"fmt"
	"testing"
)

// Publish to members that take everything.
func BenchmarkPublish(b *testing.B) {
	for _, members := range []int{0, 1, 16} {
		b.Run(fmt.Sprint(members), func(b *testing.B) {
			h, r := roomOf(RoomOptions{})
			for range members {
				r.Join((&null{}).client(h))
			}
			m := text("a message of some twenty bytes")
			b.ReportAllocs()
			for b.Loop() {
				r.Publish(m)
			}
		})
	}
}
