package mesh_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ed25519"
	"fmt"
	"net/netip"
	"time"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/mesh"
)

// Two nodes of one process find each other on the loopback interface.
func ExampleNode() {
	// a program would use a fixed name, such as "my-cluster"
	name := fmt.Sprintf("ex%x", time.Now().UnixNano()%1e12)
	heard := make(chan string)
	for _, id := range []string{"0A", "0B"} {
		node := &mesh.Node{Name: name, ID: id, OnConnection: func(c *mesh.Conn) {
			fmt.Fprintf(c, "hello from %s\n", id)
			line, _ := bufio.NewReader(c).ReadString('\n')
			heard <- id + " heard: " + line
		}}
		if err := node.Listen(0, "localhost"); err != nil {
			fmt.Println(err)
			return
		}
		defer node.Close()
	}
	fmt.Print(<-heard)
	fmt.Print(<-heard)
	// Unordered output:
	// 0A heard: hello from 0B
	// 0B heard: hello from 0A
}

// pair joins two nodes that know each other's address.
func pair(a, b *mesh.Node) (leave func()) {
	at := make(chan mesh.Static, 1)
	a.Name, a.ID, a.Discovery = "pair", "0B", mesh.Static{}
	a.OnListening = func() {
		where := a.Address()
		at <- mesh.Static{{ID: "0B", Addrs: []netip.AddrPort{netip.AddrPortFrom(where.Addresses[0], uint16(where.Port))}}}
	}
	_ = a.Listen(0, "127.0.0.1")
	b.Name, b.ID, b.Discovery = "pair", "0A", <-at
	_ = b.Listen(0, "127.0.0.1")
	return func() {
		a.Close()
		b.Close()
	}
}

func ExampleBackplane() {
	var here, there mesh.Backplane
	done := make(chan bool)
	_ = there.Subscribe(handlers.Subscriber{Deliver: func(d handlers.Delivery) {
		fmt.Printf("%s of %s in %q: %s\n", fmt.Sprint("message ", d.Seq), d.Origin, d.Room, d.Message.Data)
		done <- true
	}})
	leave := pair(
		&mesh.Node{Hello: true, OnConnection: here.Serve},
		&mesh.Node{Hello: true, OnConnection: there.Serve},
	)
	defer leave()
	for here.Stats().Nodes == 0 || there.Stats().Nodes == 0 {
		time.Sleep(time.Millisecond)
	}
	_ = here.Publish("lobby", handlers.Message{Data: []byte("hello")})
	<-done
	// Output: message 1 of 0B in "lobby": hello
}

func ExampleConn() {
	got := make(chan string)
	leave := pair(
		&mesh.Node{Hello: true, OnConnection: func(c *mesh.Conn) {
			line, _ := bufio.NewReader(c).ReadString('\n')
			got <- c.Peer() + " says " + line
		}},
		&mesh.Node{Hello: true, OnConnection: func(c *mesh.Conn) { _ = c.Send([]byte("hello\n")) }},
	)
	defer leave()
	fmt.Print(<-got)
	// Output: 0A says hello
}

func ExampleAddress() {
	a := mesh.Address{Port: 7000, Addresses: []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("::1")}}
	for _, ip := range a.Addresses {
		fmt.Println(netip.AddrPortFrom(ip, uint16(a.Port)))
	}
	// Output:
	// 127.0.0.1:7000
	// [::1]:7000
}

func ExampleIdentityID() {
	// A program keeps a random key in a file.
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, ed25519.SeedSize))
	fmt.Println(mesh.IdentityID(key.Public().(ed25519.PublicKey)))
	// Output: 34750F98BD59FCFC946DA45AAABE933BE154A4B5094E1C4ABF42
}

// A discovery looks up the addresses of a headless service in the DNS. Here a resolver in the test
// answers.
func ExampleDNS() {
	d := &mesh.DNS{Host: "nodes.example.com", Port: 7000, Lookup: func(context.Context, string) ([]netip.Addr, error) {
		return []netip.Addr{netip.MustParseAddr("192.0.2.1")}, nil
	}}
	ctx, stop := context.WithCancel(context.Background())
	_ = d.Discover(ctx, mesh.Self{Name: "my-cluster", ID: "0A"}, mesh.Events{
		Ready: func() { fmt.Println("ready") },
		Found: func(p mesh.Peer) {
			fmt.Println("found", p.Addrs)
			stop()
		},
	})
	// Output:
	// ready
	// found [192.0.2.1:7000]
}

func ExampleStatic() {
	list := mesh.Static{{ID: "0B", Addrs: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:7000")}}}
	ctx, stop := context.WithCancel(context.Background())
	_ = list.Discover(ctx, mesh.Self{Name: "my-cluster", ID: "0A"}, mesh.Events{
		Ready: func() { fmt.Println("ready") },
		Found: func(p mesh.Peer) {
			fmt.Println("found", p.ID, p.Addrs)
			stop()
		},
	})
	// Output:
	// ready
	// found 0B [192.0.2.1:7000]
}

// meeting is a discovery by hand.
type meeting struct{ peers chan mesh.Peer }

func (m meeting) Discover(ctx context.Context, self mesh.Self, e mesh.Events) error {
	fmt.Println(self.ID, "of", self.Name, "has come")
	e.Ready()
	for {
		select {
		case p := <-m.peers:
			e.Found(p)
		case <-ctx.Done():
			return nil
		}
	}
}

func ExampleDiscovery() {
	m, met := meeting{make(chan mesh.Peer)}, make(chan bool)
	node := &mesh.Node{Name: "my-cluster", ID: "0A", Discovery: m, OnListening: func() { met <- true }}
	if err := node.Listen(0, "localhost"); err != nil {
		fmt.Println(err)
	}
	<-met
	node.Close()
	// Output: 0A of my-cluster has come
}

// Interfaces are listed if the machine has others that the mesh should not use.
func ExampleMDNS() {
	node := &mesh.Node{Name: "my-cluster", Discovery: &mesh.MDNS{Interfaces: []string{"lo", "eth1"}}}
	fmt.Println(node.Discovery.(*mesh.MDNS).Interfaces)
	// Output: [lo eth1]
}
