// Package alldata is the peer server and the peer client of AllData, a write-once immutable event
// store that is spread over many peers, and a store to put behind them.
//
// A put is a key and an event. It comes as an HTTP POST whose body is
//
//	{"key": "20261121T021541371000048123", "event": {"any": ["JSON"]}}
//
// and is answered with 201 Created when the event is kept. This is a whole peer, on port 8080:
//
//	store := &alldata.Store{Dir: "events"}
//	if err := store.Open(); err != nil {
//		log.Fatal(err)
//	}
//	defer store.Close()
//	srv := &alldata.Server{Handler: &alldata.Handler{OnPut: store.Put}}
//	if _, err := srv.Listen(); err != nil {
//		log.Fatal(err)
//	}
//	defer srv.Close()
//
// and this is a client of it:
//
//	peer := &alldata.Client{URL: "http://localhost:8080/_put"}
//	err := peer.Put(ctx, keys.Next(), json.RawMessage(`{"temperature": 21.5}`))
//
// with a [Keygen] called keys. A [Handler] is an http.Handler for any mux, or for a path of the
// shared port:
//
//	port := &portluck.Server{Hub: hub}
//	port.Mount("/_put", &alldata.Handler{OnPut: store.Put})
//
// Its OnPut may be any func: [Store.Put], [Client.Put], which makes a proxy of it, or the program's
// own.
//
// # Answers
//
//	201  the event is kept; the body is empty, as that of a 500
//	400  the body is no JSON object with a key, a string that is not empty, and an event; or it is
//	     not UTF-8
//	404  another path than those of the Server
//	405  another method than POST, with Allow: POST
//	408  the body did not come in time
//	409  the key has another event
//	413  the body is longer than the Limit
//	415  the body is compressed
//	500  OnPut failed; OnError gets the reason, the peer does not
//	503  too much at once, or closing, or OnPut did not end in time; the peer may try again
//	507  the disk is full; the peer may try again when there is room
//
// Every answer but 201 and 500 has a line of text that says what is wrong. Upstream's client uses
// it as the message of its error.
//
// # The store
//
// A [Store] keeps its events in one file of go.etcd.io/bbolt, which is plain Go, depends only on
// golang.org/x/sys, and is maintained for etcd. The file is a B+tree with the keys in order. A
// commit takes two syncs. It never overwrites a page that is in use, so a crash leaves nothing to
// repair, and there is no log to replay or compact. An LSM tree (Pebble, Badger) would write random
// keys faster, but AllData's keys come in order, and it brings compaction in the background, many
// files and many dependencies. SQLite needs cgo, or a translation of its C code to Go.
//
// A put waits for the disk. Puts that come during a commit share the next one: a single writer pays
// two syncs for each event, a hundred writers share them. Putting the same event again writes
// nothing. Events are compared by their meaning: the order of members, white space, and the
// spelling of strings and numbers do not matter. Events of more than 1 MiB are compared by their
// bytes.
//
// A put fails while the disk is full. It also fails while the file or its directory is not where it
// was when the store was opened, as what is written to a removed file is lost. Puts succeed again
// once the cause is gone.
//
// A put that was answered with success survives a killed process and a loss of power, if the disk
// keeps what it has reported as written. If a sync fails, so do the puts that waited for it, and
// the next commit must succeed before any put does, even of an event that is there already: it may
// have been readable without being on disk.
//
// # Damage
//
// Each event has a CRC-32C of its key and itself. [Store.Open] verifies the whole file before the
// store is used; [Store.Check] and "portluck alldata check DIR" do so on request. They return an
// [ErrDamaged] for
//
//   - a page that is in use twice, or neither in use nor free, or says that it is another one or
//     longer than what is in it;
//   - keys that are not in order, or not in the page where the tree looks for them;
//   - a key or an event that does not match its checksum, and a wrong number of events;
//   - a file that was cut off;
//   - a meta page, at the head of the file, that was overwritten. Open restores it if the rest of
//     the file leaves no doubt what it was.
//
// They do not find damage to parts that nothing reads: free pages, unused room in other pages, and
// the state before the last commit. Nor do they find a change by somebody who also computes the
// checksums, or who puts back an older copy of the file. Damage that happens while the store is
// open is found by the next Open. Until then Get, Range and Put return an ErrDamaged for a damaged
// event, but with a damaged key or page Get may return [ErrNotFound], and Put may store a second
// event or never return.
//
// If the file is in memory, verifying it takes 1 to 2 seconds per GiB with events of 200 bytes and
// half a second with events of 64 KiB; otherwise it takes as long as the disk takes to read the
// file (go test -run '^$' -bench Open ./handlers/alldata). With [Store.SkipVerify] Open does not
// verify the events, and takes 0.8 and 0.15 seconds per GiB instead.
//
// # From upstream
//
//	alldata-peer-server-http                     here
//	new AllDataPeerServer({hostname, port})      Server{Addr: "host:port"}
//	server.listen(callback)                      addr, err := Server.Listen()
//	AllDataPeerServer.listen(options, callback)  the same
//	server.close(callback)                       err := Server.Close()
//	on('_put', function (key, event, callback))  Handler.OnPut(ctx, key, event) error
//	callback()                                   return nil
//	callback(true)                               return an error
//
//	alldata-peer-client-http                     here
//	new AllDataPeerClient({method, path, port})  Client{URL, Method}
//	client._put({hostname}, key, event, cb)      err := Client.Put(ctx, key, event)
//	options of one call                          a copy of the Client
//
//	alldata-keygen                               here
//	keygen()                                     Keygen.Next(), NewKey(time)
//
// # What differs, on purpose
//
//   - The Server listens on every address by default, as upstream's documentation says; upstream's
//     code listens on localhost.
//   - The Server refuses paths other than / and /_put, unless Server.Paths has "*"; upstream serves
//     every path.
//   - A key must be a string that is not empty, and there must be an event; upstream accepts any
//     value, and no key.
//   - Text that is not UTF-8 is refused; upstream stores it damaged, it also damages a character
//     that is split between two packets.
//   - The size of a body, the memory of all bodies, and every wait are bounded. If OnPut never
//     returns, the answer is 503.
//   - If OnPut panics, the answer is 500, after which a peer tries again; if upstream's handler
//     throws, it is 400.
//   - If the address is in use, Listen returns an error; in upstream the process dies.
//   - The client repeats a put whose failure may pass, by default up to five attempts, and never
//     follows a redirect. Its default port is the server's, 8080. It sends Content-Type and
//     Content-Length.
//   - Keys differ from upstream's in the last nine digits: six digits of the fraction of the
//     second, and three that make keys of one nanosecond differ. Upstream has nanoseconds of
//     another clock there, padded in a way that does not sort.
//   - Any key may be put at any time; upstream's storage refuses keys of other intervals than the
//     current ones.
package alldata
