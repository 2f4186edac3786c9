// Package udp serves datagrams: each is a message, also an empty one, and each address that sends
// them is a client, with the events, writers and rooms of any other.
//
//	hub := &portluck.Hub{
//		OnMessage: func(m portluck.Message, w *portluck.Writer, c *portluck.Client) { w.Send(m) },
//	}
//	srv := &portluck.Server{Addr: "localhost:8100", Hub: hub, Packets: &udp.Server{Lines: true}}
//	log.Fatal(srv.ListenAndServe())
//
// Then nc -u localhost 8100 talks to the port that nc localhost 8100 does. A socket of the
// program's own is served with srv.ServePacket(pc, &udp.Server{}).
//
// # What the events and writers mean
//
// Upstream (portluck for Node) has UDP in its list of things to do, and no more. Here is what its
// members, and ours, mean:
//
//	upstream, over TCP    here             over UDP
//	clientConnect         OnConnect        the first datagram from an address
//	message               OnMessage        a datagram, even empty; with Lines, without its line end
//	clientDisconnect      OnDisconnect     after Timeout without a datagram, End or Destroy
//	clientError           Server.OnError   a datagram that is too long, an error of the system
//	write                 Write, Send      one datagram; with Lines, Send adds a line end
//	done, doneAfterWrite  Done, ...        nothing
//	end                   End              disconnects; the peer is not told, as UDP has no farewell
//	socket.destroy        Destroy          disconnects, and drops what is queued
//	(none)                Room.Publish     one datagram to each member; see below
//	messageLimit          MessageLimit     a longer datagram is dropped
//	timeout               Timeout          of what comes; what is sent does not count
//	(none)                MaxClients       the table of clients is bounded
//
// A client is an address and port that talks to one of our addresses; it is answered from there,
// also on a host that has several. Its events come one at a time and in the order in which its
// datagrams came, which is not always that in which they were sent. A callback may block: its
// client waits, the others do not. What comes from an address after End, Destroy or a disconnect is
// of a new client, whose OnConnect runs after the OnDisconnect of the old one.
//
// Nothing that is sent waits for the network: what the system does not take at once is queued, up
// to MaxQueue; then Send returns [handlers.ErrSlow]. A datagram that was sent may be lost, doubled
// or overtaken, and one of more than some 1,200 bytes may be lost more easily, as it travels in
// pieces. One that no datagram can hold is refused ([handlers.ErrTooLong]). Errors that ICMP brings
// (nobody listens there any more) end nobody: they are easily forged. Such a client goes with
// Timeout.
//
// # Forged addresses
//
// Anybody can write any source address on a datagram. So that we cannot be used to flood somebody
// else, a client is unvalidated until it is known to be where it says it is, and gets three times
// what it has sent at the most, in bytes and in datagrams ([ErrUnvalidated]; RFC 9000, section
// 8.1). All unvalidated clients of one network share UnvalidatedRate. A client is validated when
//
//   - it is on loopback, from where the system lets nothing in that was forged; or
//   - it is in one of the Trusted networks, which the program says are as good; or
//   - it has sent a datagram that begins with the token which [Server.Token] has made for its
//     address, and which the program has sent to it.
//
// More datagrams after our reply do not validate a client, as they do with some other servers: an
// attacker that forges the first datagram can forge the next as blindly.
//
// Room traffic (TrySend, in terms of [handlers.Stream]) goes only to clients that have spoken in
// the last minute (RoomWindow), and only to those of loopback unless RoomsTo names others. The
// bound for unvalidated clients holds for it too. What is not sent is counted ([Stats]), and the
// room takes it for delivered.
//
// A flood of made-up sources costs a table of MaxClients entries, some 400 bytes each with all that
// the hub knows, and no goroutine or timer: who has sent only one datagram makes room first, see
// MaxClients. Datagrams from ports of services that answer anybody ([Reflector]), from ourselves,
// and the first ones of QUIC make no clients.
//
// # Numbers
//
// On Linux up to Batch datagrams are read, and written, with one system call (recvmmsg, sendmmsg);
// elsewhere one. The callbacks of a socket run in one goroutine, and in more when one takes longer
// than some milliseconds. A program that has more to compute than that listens with several sockets
// of one port (SO_REUSEPORT) and serves each.
package udp
