package portluck_test

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/portluck/portluck/handlers/mesh"
	"github.com/portluck/portluck/portluck"
)

// Two servers share their rooms. Normally they find each other by multicast DNS; here one gets the
// other's address.
func ExampleHub_Carry() {
	var hubs []*portluck.Hub
	known := make(chan mesh.Static, 1)
	known <- nil
	for _, id := range []string{"0B", "0A"} {
		hub, plane := &portluck.Hub{}, &mesh.Backplane{}
		hub.RoomOptions = func(string) portluck.RoomOptions { return portluck.RoomOptions{History: 10} }
		hub.OnGap = func(origin string, missed uint64) { fmt.Println(missed, "of", origin, "are missing") }
		if err := hub.Carry(plane); err != nil {
			panic(err)
		}
		node := &mesh.Node{Name: "my-cluster", ID: id, Hello: true, OnConnection: plane.Serve, Discovery: <-known}
		node.OnListening = func() {
			a := node.Address()
			known <- mesh.Static{{ID: id, Addrs: []netip.AddrPort{netip.AddrPortFrom(a.Addresses[0], uint16(a.Port))}}}
		}
		if err := node.Listen(0, "localhost"); err != nil {
			panic(err)
		}
		defer node.Close()
		hubs = append(hubs, hub)
		for id == "0A" && plane.Stats().Nodes == 0 {
			time.Sleep(time.Millisecond)
		}
	}
	hubs[1].Room("lobby").Publish(portluck.TextMessage("hello"))
	there := hubs[0].Room("lobby")
	for there.Position().Seq == 0 {
		time.Sleep(time.Millisecond)
	}
	all, _, _ := there.Since(portluck.Position{})
	fmt.Println(all)
	// Output: [hello]
}
