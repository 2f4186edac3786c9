// Package callosum lets services balance their load themselves, without a balancer: Callosum over
// TCP, the protocol of callosum-server-tcp for Node, which is Indeed's Boxcar.
//
// A server gives each connection a slot: the lowest number, from 0, that no other connection has.
// It says so at once, in a line of its own, and the rest of the stream is the application's:
//
//	13\r\n
//
// That is the whole protocol. A client that does not like its slot closes the connection. A low
// slot means an idle server, so a client that keeps the connections with the lowest slots it can
// find, and now and then tries for a lower one, uses the servers that have the least to do. Nobody
// else need know of anything.
//
// # A server
//
//	srv := &callosum.Server{Addr: "localhost:4040", Handler: &callosum.Handler{
//		OnConnection: func(ctx context.Context, c *callosum.Conn) { // after the slot line
//			io.Copy(c, c)
//		},
//	}}
//	log.Fatal(srv.ListenAndServe())
//
// A slot is freed exactly once: when the client sends FIN or a reset, whether or not the
// application reads and whatever it has left unread, or when the server closes the connection. On
// Linux one goroutine and one epoll set watch all connections, which stay as they are; elsewhere,
// and inside TLS, up to 64 KiB of each are read ahead. A client that leaves before it has its slot
// is never a connection, and what was assigned to it is freed; one that has sent FIN without
// anything before still gets the line.
//
// # A client
//
//	c, err := callosum.Dial(ctx, "localhost:4040") // c.Slot() is what it got
//
//	pool := &callosum.Pool{Size: 10, Servers: map[string]string{"a": "10.0.0.1", "b": "10.0.0.2"}}
//	go pool.Run(ctx)
//	// A request, on the connection with the lowest slot:
//	err := pool.Do(ctx, func(c *callosum.Conn) error { ... })
//
// A [Pool] is upstream's client and rover in one. It fills itself at once, replaces what breaks,
// and probes a server about every second: a connection with a lower slot than its highest takes
// that one's place. [Pool.Add] and [Pool.Drop] tell it of servers that come and go. The test
// TestSimulation has thousands of clients do that in simulated time and prints how the load
// spreads: go test -run Simulation -v ./handlers/callosum -args -clients 2000. Of 2,000 clients
// with 4 connections each, 90 simulated seconds after each step, with the busiest server's part of
// connections and of requests, in means of all, and the same when every slot is 0:
//
//	step              connections of A to E     requests in 30 s          busiest    every slot 0
//	four servers      2000 2000 2000 2000 -     7480 7467 7060 7952 -     1.00 1.06  1.02 1.02
//	E is added        1600 1600 1600 1600 1600  5508 5535 5321 5809 7296  1.00 1.24  1.28 1.29
//	A is lost         - 2000 2000 2000 2000     - 7126 6782 7256 8589     1.00 1.15  1.29 1.28
//	A is back         1600 1600 1600 1600 1600  6424 5580 5302 5838 6716  1.00 1.12  1.61 1.61
//	B and C are lost  2667 - - 2666 2667        10116 - - 9710 9852       1.00 1.02  1.57 1.57
//	B and C are back  1600 1600 1600 1600 1600  5992 6030 6144 5715 6027  1.00 1.03  2.62 2.61
//	all start anew    1600 1600 1600 1600 1600  6027 6103 6034 5778 5581  1.00 1.03  1.98 1.99
//
// # On a shared port
//
// A client says nothing before it has its slot, so a port that speaks other protocols too must know
// it by something else:
//
//	// After SniffTimeout, for every silent client:
//	srv.OnSilence = h
//	// At once, for clients from these addresses:
//	srv.OnSilence, srv.SpeakFirst = h, []netip.Prefix{...}
//	// At once, for a Dialer with Preface:
//	srv.Handle("callosum", matchers.Prefix(callosum.Preface), h)
//
// From dialling to the slot it takes 2.0 s by silence, which is SniffTimeout, 0.05 to 0.07 ms by
// address and 0.06 to 0.3 ms by the preface, against 0.05 to 0.16 ms on a port of its own: go test
// -run '^$' -bench FirstLine/Own -benchtime 2000x ./handlers/callosum, and so for SpeakFirst and
// Preface, and with 5x for OnSilence, on a loaded machine of 2 cores. A server on its own port
// takes the preface off too. No upstream client sends it.
//
// # Upstream's names
//
//	callosum-server-tcp                    here
//	new CallosumServer({host, port})       Server{Addr}
//	server.listen, CallosumServer.listen   Server.ListenAndServe, Server.Serve
//	server.close(callback)                 Server.Shutdown; Server.Close closes the connections too
//	event 'connection'                     Handler.OnConnection
//	event 'slot request'                   Handler.OnSlotRequest; the lowest free slot if nil
//	event 'slot free'                      Handler.OnSlotFree
//	event 'error'                          Handler.OnError; errors of listening are returned
//	connection._slot                       Conn.Slot
//	callosum-server-slots get, put         Slots.Get, Slots.Put
//	callosum-client-tcp MAX_SLOTS          Pool.Size
//	getConnection, returnConnection        Pool.Get, Pool.TryGet; Pool.Put
//	newConnection(slot, socket)            Pool.Offer
//	callosum-client-tcp-rover start        Pool.Run
//	ROVING_INTERVAL, servers               Pool.ProbeInterval, Pool.Servers
//	addServer, dropServer                  Pool.Add, Pool.Drop
//	events 'unreachable', 'error'          Pool.OnError
//
// # What differs, on purpose
//
//   - An error for an answer to a slot request closes the connection and goes to OnError; upstream
//     sends "undefined". A slot is a number from 0, and an answer is a return: there are no second
//     ones.
//   - A client that leaves before the answer costs its slot nothing; upstream dies or loses the
//     slot. So does one whose bytes nobody reads.
//   - Without a slot request handler upstream's clients wait for ever; here they get the lowest
//     free slot.
//   - What the application writes first waits 100 ms for the slot line to be read ([Handler.Hold]),
//     unless the client has spoken: upstream's rover takes what it reads first for the line.
//   - Shutdown lets what has begun finish and then ends the connections; upstream's close waits
//     until the clients leave, which is had by closing the listener only.
//   - Port 0 is any free port, not 4040.
//   - Taking a slot back twice is an error; upstream would give it out twice.
//   - A pool fills itself at once, not by one connection a second; a broken connection makes room
//     at once; a server that has failed is tried again at the next probe; a rover has a timeout; a
//     slot line may come in parts, or with what follows.
//   - Of a pool's free connections the lowest slot is preferred, but of those with up to four times
//     that slot the one whose last use is longest ago is taken: a client with one request at a time
//     would else use one server only.
package callosum
