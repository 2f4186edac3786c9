// Package mesh connects all nodes of one name on a network with each other, without configuration:
// tcpnet in Go.
//
// A [Node] announces itself by multicast DNS, finds the others, and keeps exactly one TCP
// connection with each. It connects nodes that arrive, notices those that leave, and dials lost
// connections again. The program decides what is sent on them.
//
//	node := &mesh.Node{Name: "my-cluster", OnConnection: func(c *mesh.Conn) {
//		io.Copy(os.Stdout, c)
//	}}
//	if err := node.Listen(0, ""); err != nil { // a free port, on all addresses
//		log.Fatal(err)
//	}
//	for range time.Tick(time.Second) {
//		node.Broadcast([]byte("hello from " + node.LocalID() + "\n"))
//	}
//
// # From tcpnet
//
//	tcpnet(name), tcpnet({name, uuid})   Node{Name, ID}
//	new service, listener argument       Node.OnConnection
//	service.listen(port, address, cb)    Node.Listen(port, address) and OnListening
//	service.address()                    Node.Address()
//	service.connections                  Node.Connections(), Node.Broadcast(p)
//	service.close(cb)                    Node.Close() and OnClose
//	event connection                     Node.OnConnection
//	event listening                      Node.OnListening
//	event error                          Node.OnError, or the error of Listen if it is known at once
//	event close                          Node.OnClose
//	socket 'close'                       Conn.Done()
//
// The wire is upstream's, so that nodes of both find each other: the service is _NAME._tcp, the
// instance is the id in upper-case hex, SRV has the port, TXT is empty, the node with the lower id
// dials, and nothing is sent on the connection but what the program sends.
//
// # Where it differs, on purpose
//
//	upstream                                  here
//	a lost connection stays lost              it is dialled again, with growing pauses
//	one address of a peer is tried            all are, IPv4 first, link-local ones with their zone
//	a peer whose machine dies stays           it is noticed after PeerTimeout
//	the host is the machine's own name        it is one of the node's own
//	needs the system's daemon                 has its own mDNS, beside the daemon if there is one
//	loopback is refused with avahi            it works
//	an id that is in use crashes              ErrIDInUse goes to OnError, and it is tried again
//	'connection' may precede 'listening'      it does not
//	errors without a handler are thrown       they are dropped; nothing crashes
//	anybody who connects is a member          with Hello, Key or Identity only nodes of the mesh are
//	a peer that sends and is not read grows   64 KiB are read ahead, 1 MiB waits to be sent
//
// [MDNS] differs from RFC 6762 where that serves a mesh: a goodbye counts at once, not after a
// second (section 10.1), so that a node that leaves is not dialled again; a question that asks for
// a unicast answer (QU, section 5.4) is answered by multicast. The documentation of
// handlers/mesh/internal/mdns lists what is done about each section.
//
// If either side closes a connection, the node dials it again: to leave the mesh, close the node.
//
// On upstream's wire a node does not learn who has dialled it: [Conn.Peer] is empty there. When
// such a peer is cut off and dials again, the node keeps the old connection beside the new one
// until it notices that the old one is dead, after PeerTimeout at the latest. With Hello the new
// one takes its place.
//
// # Who may join
//
// With [Node.Key], a secret of all nodes, connections are TLS 1.3 with certificates on both sides,
// signed by an authority whose private key is derived from the secret: only who knows it can make
// one. A recorded conversation stays secret even when the Key becomes known later. This is standard
// TLS without additions of our own. The Key must be random, because anybody who can connect can try
// to guess it (PBKDF2 with 600,000 rounds makes each guess expensive, not impossible).
//
// With [Node.Identity], a private key of the node's own, the node's id is the fingerprint of that
// key, so no other node can take the id. No authority is needed: [Node.Trust] lists the ids that
// may join. Key and Identity can be combined.
//
// # On a shared port
//
// A node need not have a port of its own. As a handlers.Handler it takes its connections from a
// portluck.Server; it joins at the server's address:
//
//	node := &mesh.Node{Name: "my-cluster", Hello: true}
//	// With a Key it is matchers.ALPN(mesh.ALPN) instead:
//	srv.Handle("mesh", matchers.Prefix(mesh.HelloPrefix), node)
//	err := node.Join(addr)
//
// Upstream's wire has no first byte to recognise: it needs a port of its own.
//
// # Rooms across servers
//
// A [Backplane] carries the rooms of a portluck.Hub between servers:
//
//	plane := &mesh.Backplane{}
//	node := &mesh.Node{Name: "my-cluster", Hello: true, OnConnection: plane.Serve}
//	err := hub.Carry(plane)
//
// Each message has an origin and a number. Messages that are lost, because a peer was away or too
// slow, are reported as a gap.
//
// # Discovery
//
// [MDNS] is the default. [Static] is a list, [DNS] looks a name up, and a program can write its own
// [Discovery]. If it does not know the ids, the nodes need Hello, Key or Identity to tell each
// other theirs. Of two connections between the same nodes one is kept.
package mesh
