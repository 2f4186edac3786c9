// Package portluck serves every protocol on one port, with one event model.
//
// A program gives a [Server] an address and a [Hub] of three functions: connect, message,
// disconnect. Any client that can open a socket can then talk to it: a browser, curl, nc, openssl
// s_client, a WebSocket library, a microcontroller.
//
//	hub := &portluck.Hub{
//		OnMessage: func(m portluck.Message, w *portluck.Writer, c *portluck.Client) { w.Send(m) },
//	}
//	log.Fatal((&portluck.Server{Addr: "localhost:8100", Hub: hub}).ListenAndServe())
//
// # The types
//
// Hub, Client, Writer and Room are aliases of types of package hub, where "go doc" shows their
// methods: go doc github.com/portluck/portluck/portluck/hub Writer.
//
//   - [Server] is the port: its fields say what it serves. ListenAndServe, Serve and ServePacket
//     serve; Handle, HandleFunc, HandleALPN, Listen and Mount add protocols; Shutdown and Close end
//     it.
//   - [Hub] has the callbacks. Clients, Client and Len return its clients, Users and UserClients
//     those who have logged in; KickUser ends a user's clients. Broadcast sends to all, Room
//     returns a room, Carry connects the rooms with those of other servers.
//   - [Client] tells who a client is: ID, User, Protocol, Scheme, Local, Remote, TLS, Request,
//     Info. Rooms returns its rooms, Context ends with it, Kick ends it for a reason. A [Key] is a
//     value that the program keeps with each client.
//   - [Writer] sends to one client: Send a message, TrySend without waiting, Write and WriteString
//     bytes as they are. End and Destroy end the client.
//   - [Room] has members: Join, Leave, Publish; after a break JoinSince and Since. [RoomOptions]
//     bound what it keeps for members that read too slowly. [PublishOptions] choose the members
//     that get a message.
//   - [Message], which has a [Kind], is what a client says or is sent. [Info] describes a
//     connection. A [Position] is a place in the messages of a room.
//
// # What a client is
//
// A raw TCP or TLS connection is one client, whose lines are its messages. A WebSocket is one
// client, whose messages are its messages. Over HTTP/1.1 and HTTP/2 every POST or PUT request is
// one client, and the lines of its body are its messages; what the program writes is the body of
// the answer. A request for a path that the program has mounted ([Server.Mount]) goes to the
// mounted [http.Handler] and is not a client; nor is a WebSocket for a path of
// [Server.MountWebSocket]. Over UDP ([Server.Packets] and handlers/udp) an address is one client,
// and each datagram is a message.
//
// # How the protocol is found
//
// The port looks at the first bytes that a client sends without consuming them and asks the
// matchers of its routes in order: the program's own ([Server.Handle]), then TLS, HTTP/2 with prior
// knowledge, WebSocket and HTTP/1.1; what no matcher knows is raw. Inside TLS the client's ALPN
// decides; for a client that offers none the decrypted bytes are looked at in the same way. A
// client that says nothing becomes a raw client after [Server.SniffTimeout], and is still
// classified by what it says later. For protocols whose server speaks first, [Server.OnSilence]
// serves such a client instead; clients from the addresses of [Server.SpeakFirst] get it at once.
//
// # Your own protocol
//
// A matcher is a pure function of the first bytes, see package matchers. What it matches goes to a
// handler ([Server.Handle], package handlers), to a func ([Server.HandleFunc]) or to a server that
// wants a net.Listener ([Server.Listen]), such as one of SSH or net/rpc.
//
// # Rooms
//
// A message that is published in a [Room] ([Hub.Room]) goes to all its members, which are clients
// of any protocol. Every client is in the room of [Hub.Broadcast]. With [Server.RoomOf] a GET
// request is a member too: server-sent events, or a long poll. Hub.OnJoin may refuse it.
//
// Publish does not wait: messages that a member has not read yet are kept once for all members, in
// a ring. The [Policy] in [RoomOptions] decides what happens to a member that falls further behind.
// By default such a member is disconnected, a WebSocket client with close 1013. Otherwise it skips
// to the newest or to the oldest message that is kept, or gets the newest of each key, or Publish
// waits for it. No loss is silent: see [RoomStats] and RoomOptions.OnSlow. With
// RoomOptions.History a new member gets the last
// messages, or only those that are younger than RoomOptions.HistoryAge. A member that returns gets
// those after its [Position] ([Room.JoinSince], Last-Event-ID, ?since=). A room without members and
// history costs nothing.
//
// [Room.Presence] returns who is in a room. RoomOptions.OnPresence tells who comes and goes, and so
// does an event stream that is asked for with ?presence, in events of that type; who is away for
// less than RoomOptions.PresenceGrace has not gone.
//
// Several servers share their rooms over a [Backplane], such as that of package handlers/mesh,
// whose servers find each other ([Hub.Carry]).
//
// # Order and concurrency
//
// The events of one client come one at a time and in order, with exactly one OnDisconnect for each
// OnConnect. Different clients' events come at once. A callback may block: on Linux the callbacks
// of many clients share a goroutine, and one that takes longer than a few milliseconds gets it for
// itself, while the others go on in another. All methods of [Writer], [Client] and [Hub] may be
// called by any goroutine at any time.
package portluck
