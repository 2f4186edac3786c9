// Package callosum lets services balance their load without a balancer. It implements Callosum over
// TCP, the protocol of callosum-server-tcp for Node, which comes from Indeed's Boxcar.
//
// A server gives each connection a slot: the lowest number, from 0, that no other connection has.
// It sends the slot at once in one line. The rest of the stream is the application's:
//
//	13\r\n
//
// That is the whole protocol. A client that does not like its slot closes the connection. A low
// slot means an idle server. A client keeps the connections with the lowest slots that it can find,
// and now and then tries to get a lower one; so it uses the servers that have the least to do. No
// other party is needed.
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
// A slot is freed exactly once: when the client sends FIN or a reset, even if the application does
// not read or has left bytes unread, or when the server closes the connection. On Linux one
// goroutine and one epoll set watch all connections. Elsewhere, and inside TLS, the server reads up
// to 64 KiB of each connection ahead. If a client leaves before it has its slot, OnConnection is
// not called, and a slot that was assigned is freed. A client that has sent nothing but FIN still
// gets the line.
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
// A [Pool] is upstream's client and rover in one. It fills itself at once, replaces connections
// that break, and probes a server about every second: a connection with a lower slot than the
// highest in the pool replaces that one. [Pool.Add] and [Pool.Drop] add and remove servers.
//
// The test TestSimulation runs thousands of such clients in simulated time and prints how the load
// spreads: go test -run Simulation -v ./handlers/callosum -args -clients 2000. The table is that of
// 2,000 clients with 4 connections each, 90 simulated seconds after each step. The column busiest
// has the connections and the requests of the busiest server, divided by the mean of all servers;
// the last column has the same if every slot is 0:
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
// A client sends nothing before it has its slot, so a port that serves other protocols too must
// recognise it in another way:
//
//	// After SniffTimeout, for every silent client:
//	srv.OnSilence = h
//	// At once, for clients from these addresses:
//	srv.OnSilence, srv.SpeakFirst = h, []netip.Prefix{...}
//	// At once, for a Dialer with Preface:
//	srv.Handle("callosum", matchers.Prefix(callosum.Preface), h)
//
// From dialling to the slot it takes 2.0 s by silence, which is SniffTimeout, 0.05 to 0.07 ms by
// address, 0.06 to 0.3 ms by the preface, and 0.05 to 0.16 ms on a port of its own. This was
// measured on a loaded machine of 2 cores: go test -run '^$' -bench FirstLine/Own -benchtime 2000x
// ./handlers/callosum; likewise SpeakFirst and Preface, and OnSilence with -benchtime 5x. A server
// on a port of its own accepts the preface too, and removes it. No upstream client sends it.
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
//   - If a slot request fails, the server closes the connection and calls OnError; upstream sends
//     "undefined". A slot is a number from 0, and OnSlotRequest returns it, so there is never a
//     second answer.
//   - If a client leaves before the answer, or its bytes stay unread, its slot is still freed; then
//     upstream dies or loses the slot.
//   - Without a slot request handler clients get the lowest free slot; upstream's wait for ever.
//   - The application's first write waits 100 ms ([Handler.Hold]), so that the client reads the
//     slot line alone, unless the client has sent something; upstream's rover takes all that its
//     first read returns for the line.
//   - Shutdown lets running OnConnections finish and then ends the connections; upstream's close
//     waits until the clients leave. For that, close the listener only.
//   - Port 0 is any free port, not 4040.
//   - Taking a slot back twice is an error; upstream would then give it out twice.
//   - A pool fills itself at once, not by one connection a second. A broken connection makes room
//     at once. A server that has failed is tried again at the next probe. Dials have a timeout. A
//     slot line may come in parts, or together with what follows.
//   - A pool prefers the free connection with the lowest slot. Among those with up to four times
//     that slot it takes the least recently used, as a client with one request at a time would
//     otherwise use one server only.
package callosum
