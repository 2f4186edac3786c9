package hub_test

import (
	"fmt"
	"net/netip"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/portluck/hub"
)

// printer is the stream of a client. It prints what is sent to the client.
type printer struct {
	handlers.Stream
	name string
}

func (p printer) Send(b []byte, k handlers.Kind) error { return p.TrySend(b, k) }

func (p printer) TrySend(b []byte, _ handlers.Kind) error {
	fmt.Printf("%s gets %s\n", p.name, b)
	return nil
}

// A port of your own, or a test, makes clients with Bind and raises their events.
func ExampleBind() {
	h := &hub.Hub{
		OnConnect:    func(_ *hub.Writer, c *hub.Client) { fmt.Println(c.Protocol(), c.ID(), "is here") },
		OnMessage:    func(m handlers.Message, w *hub.Writer, _ *hub.Client) { _ = w.Send(m) },
		OnDisconnect: func(c *hub.Client, err error) { fmt.Println(c.Protocol(), c.ID(), "has left:", err) },
	}
	b := hub.Bind(h, nil, false)
	s, err := b.Connect(&handlers.Info{Protocol: "mine"}, printer{name: "the client"})
	if err != nil {
		fmt.Println(err)
		return
	}
	err = s.Message(handlers.Message{Data: []byte("hello")})
	s.Disconnect(err)
	// Output:
	// mine 1 is here
	// the client gets hello
	// mine 1 has left: <nil>
}

// A room has members of any protocol.
func ExampleRoom() {
	h := &hub.Hub{RoomOptions: func(string) hub.RoomOptions { return hub.RoomOptions{History: 10} }}
	lobby := h.Room("lobby")
	h.OnConnect = func(_ *hub.Writer, c *hub.Client) { _ = lobby.Join(c) }
	lobby.Publish(handlers.Message{Data: []byte("before anybody came")})

	b := hub.Bind(h, nil, false)
	ann, _ := b.Connect(&handlers.Info{Protocol: handlers.ProtocolTCP}, printer{name: "ann"})
	lobby.Publish(handlers.Message{Data: []byte("hello")})
	ann.Disconnect(nil)
	fmt.Println(lobby.Len(), "members,", lobby.Stats().Published, "messages")
	// Output:
	// ann gets before anybody came
	// ann gets hello
	// 0 members, 2 messages
}

// A client that comes back gets the messages that it has missed.
func ExampleRoom_JoinSince() {
	h := &hub.Hub{RoomOptions: func(string) hub.RoomOptions { return hub.RoomOptions{History: 2} }}
	b := hub.Bind(h, nil, false)
	room := h.Room("news")
	room.Publish(handlers.Message{Data: []byte("one")})
	seen := room.Position() // the last message that the client has seen
	room.Publish(handlers.Message{Data: []byte("two")})

	s := b.NewSession(&handlers.Info{Protocol: handlers.ProtocolTCP}, printer{name: "ann"})
	_ = s.Connect(nil)
	defer s.Disconnect(nil)
	complete, err := room.JoinSince(s.Client(), seen)
	fmt.Println(complete, err)
	// Output:
	// ann gets two
	// true <nil>
}

// The program may send to a client at any time.
func ExampleWriter() {
	h := &hub.Hub{}
	s, _ := hub.Bind(h, nil, false).Connect(&handlers.Info{Protocol: handlers.ProtocolTCP}, printer{name: "ann"})
	defer s.Disconnect(nil)
	for _, c := range h.Clients() {
		_ = c.Writer().Send(handlers.Message{Data: []byte("to you alone")})
	}
	h.Broadcast(handlers.Message{Data: []byte("to everybody")})
	// Output:
	// ann gets to you alone
	// ann gets to everybody
}

// A hub has the clients of all protocols, and sends to all of them.
func ExampleHub() {
	h := &hub.Hub{OnDisconnect: func(c *hub.Client, _ error) { fmt.Println("client", c.ID(), "has left") }}
	b := hub.Bind(h, nil, false)
	ann, _ := b.Connect(&handlers.Info{Protocol: handlers.ProtocolTCP}, printer{name: "ann"})
	bob, _ := b.Connect(&handlers.Info{Protocol: handlers.ProtocolWebSocket}, printer{name: "bob"})
	ann.Disconnect(nil)
	h.Broadcast(handlers.Message{Data: []byte("who is here?")})
	fmt.Println(h.Len(), "client")
	bob.Disconnect(nil)
	// Output:
	// client 1 has left
	// bob gets who is here?
	// 1 client
	// client 2 has left
}

// A Client has its protocol, its addresses and, over HTTP, its request.
func ExampleClient() {
	h := &hub.Hub{OnConnect: func(_ *hub.Writer, c *hub.Client) {
		fmt.Println(c.ID(), c.Protocol(), c.Remote(), c.Request() != nil)
	}}
	b := hub.Bind(h, nil, false)
	info := &handlers.Info{Protocol: handlers.ProtocolTCP, Remote: netip.MustParseAddrPort("192.0.2.1:4000")}
	c, err := b.Connect(info, printer{name: "ann"})
	if err != nil {
		fmt.Println(err)
		return
	}
	c.Disconnect(nil)
	// Output: 1 tcp 192.0.2.1:4000 false
}
