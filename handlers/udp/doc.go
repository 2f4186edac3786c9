// Package udp serves datagrams. Each datagram, even an empty one, is a message, and each address
// that sends datagrams is a client, with the same events, writers and rooms as other clients.
//
//	hub := &portluck.Hub{
//		OnMessage: func(m portluck.Message, w *portluck.Writer, c *portluck.Client) { w.Send(m) },
//	}
//	srv := &portluck.Server{Addr: "localhost:8100", Hub: hub, Packets: &udp.Server{Lines: true}}
//	log.Fatal(srv.ListenAndServe())
//
// Then nc -u localhost 8100 and nc localhost 8100 reach the same port. To serve a socket that the
// program has made, call srv.ServePacket(pc, &udp.Server{}).
//
// # What the events and writers mean
//
// Upstream (portluck for Node) has UDP only in its list of things to do. Over UDP its members, and
// those of this package, mean:
//
//	upstream, over TCP    here             over UDP
//	clientConnect         OnConnect        the first datagram from an address
//	message               OnMessage        a datagram, even empty; with Lines, without its line end
//	clientDisconnect      OnDisconnect     after Timeout without a datagram, End or Destroy
//	clientError           Server.OnError   a datagram that is too long, an error of the system
//	write                 Write, Send      one datagram; with Lines, Send adds a line end
//	done, doneAfterWrite  Done, ...        nothing
//	end                   End              disconnects; the peer does not learn of it
//	socket.destroy        Destroy          disconnects, and drops what is queued
//	(none)                Room.Publish     one datagram to each member; see below
//	messageLimit          MessageLimit     a longer datagram is dropped
//	timeout               Timeout          since the last datagram that came
//	(none)                MaxClients       the table of clients is bounded
//
// A client is a remote address and port that talks to one local address. Replies come from that
// local address, even if the host has several. The events of a client come one at a time, in the
// order in which its datagrams came, which may differ from the order in which they were sent. A
// callback may block: its client waits, the others do not. Once a client has ended, by End, Destroy
// or a disconnect, the next datagram from its address begins a new client, whose OnConnect runs
// after the OnDisconnect of the old one.
//
// Sending never waits for the network. What the system does not take at once is queued, up to
// MaxQueue; beyond that Send returns [handlers.ErrSlow]. A datagram that was sent may be lost,
// duplicated or overtaken. One of more than about 1,200 bytes is lost more easily, as it may travel
// in fragments. A message that no datagram can hold is refused ([handlers.ErrTooLong]). ICMP errors
// (nobody listens there any more) do not disconnect a client, as they are easily forged; Timeout
// does.
//
// # Forged addresses
//
// Anybody can send a datagram with a false source address. So that nobody can use the server to
// flood somebody else, a client is unvalidated until its address is known to be genuine, and until
// then it is sent at most three times what has come from it, in bytes and in datagrams
// ([ErrUnvalidated]; RFC 9000, section 8.1). All unvalidated clients of one network share
// UnvalidatedRate. A client is validated when
//
//   - its address is on loopback, from where the system accepts no forged datagrams; or
//   - its address is in one of the Trusted networks; or
//   - it has sent a datagram that begins with the token which [Server.Token] has made for its
//     address, and which the program has sent to it.
//
// More datagrams after our reply do not validate a client, as they do with some other servers: an
// attacker that forges the first datagram can forge the next as blindly.
//
// Room traffic (TrySend, in terms of [handlers.Stream]) goes only to clients that have spoken in
// the last minute (RoomWindow), and only to those on loopback unless RoomsTo lists other networks.
// The limits of unvalidated clients apply to it too. Room traffic that is not sent is counted
// ([Stats]), and the room treats it as delivered.
//
// A flood from forged addresses costs at most a table of MaxClients entries, about 400 bytes each
// with what the hub keeps, and no goroutines or timers. Clients that have sent only one datagram
// make room first; see MaxClients. Datagrams from ports of services that answer any datagram
// ([Reflector]), from the server's own address, and those that begin a QUIC connection make no
// clients.
//
// # Performance
//
// On Linux one system call reads or writes up to Batch datagrams (recvmmsg, sendmmsg); elsewhere it
// is one. The callbacks of a socket run in one goroutine, and in further ones while a callback
// takes longer than a few milliseconds. If one goroutine does not suffice, open several sockets on
// one port (SO_REUSEPORT) and serve each.
package udp
