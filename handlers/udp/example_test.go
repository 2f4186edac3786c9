package udp_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/udp"
	"github.com/portluck/portluck/portluck"
)

// A hub answers datagrams.
func ExampleServer() {
	hub := &portluck.Hub{
		OnMessage: func(m portluck.Message, w *portluck.Writer, c *portluck.Client) {
			fmt.Printf("%s says %q\n", c.Scheme(), m.Data)
			_ = w.Send(portluck.TextMessage("hello, " + m.String()))
		},
	}
	server := &portluck.Server{Hub: hub}
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	go server.ServePacket(pc, &udp.Server{Lines: true}) // ends with Shutdown
	defer server.Shutdown(context.Background())

	c, err := net.Dial("udp", pc.LocalAddr().String())
	if err != nil {
		panic(err)
	}
	defer c.Close()
	fmt.Fprintln(c, "world")
	answer := make([]byte, 100)
	n, _ := c.Read(answer)
	fmt.Printf("%q\n", answer[:n])
	// Output:
	// udp says "world"
	// "hello, world\n"
}

// A client that sends its token back may be sent any amount.
func ExampleServer_Token() {
	packets := &udp.Server{}
	remote := netip.MustParseAddrPort("203.0.113.5:40000")
	token := packets.Token(remote)
	fmt.Println(len(token) == udp.TokenSize, token == packets.Token(remote))
	fmt.Println(token == packets.Token(netip.MustParseAddrPort("203.0.113.6:40000")))
	// Output:
	// true true
	// false
}

func ExampleStats() {
	packets := &udp.Server{}
	stats := packets.Stats()
	fmt.Println(stats.Clients, stats.Received, stats.Refused)
	// Output: 0 0 0
}

func ExampleReflector() {
	fmt.Println(udp.Reflector(53), udp.Reflector(40000))
	// Output: true false
}

var _ handlers.PacketHandler = (*udp.Server)(nil)
