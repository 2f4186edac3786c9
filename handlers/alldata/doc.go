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
//	500  OnPut failed; why is not for the peer but for OnError
//	503  too much at once, or closing, or OnPut did not end in time; the same may come again
//	507  the disk is full; the same is taken when there is room
//
// All but 201 and 500 have a line of text that says what is wrong, which upstream's client makes
// the message of its error.
//
// # The store
//
// A [Store] has one file, by go.etcd.io/bbolt: plain Go with no dependency but golang.org/x/sys; a
// B+tree that has the keys in order; commits of two syncs, without a log to replay or compact, and
// no page that is in use is ever written over, so that there is nothing to repair after a crash;
// and it is maintained for etcd, which stands or falls with it. An LSM tree (Pebble, Badger) would
// write random keys faster, with compaction in the background, many files and many dependencies,
// and AllData's keys come in order; SQLite needs cgo, or its C in Go.
//
// Puts wait for the disk, and all that come meanwhile share the next commit: one writer pays two
// syncs for each event, a hundred share them. The same event again writes nothing. Sameness is of
// what events mean: the order of members, white space, and other spellings of strings and numbers
// do not make another event; above 1 MiB the bytes must be the same.
//
// A put is an error while the disk is full, or while the file, or the directory, is not where it
// was when the store was opened: what is written to a file that was removed is lost. The store goes
// on when that has passed.
//
// A process that is killed, or a machine that loses power, loses nothing that was answered, if the
// disk keeps what it says it has. A sync that fails fails the puts that waited for it, and the next
// commit must succeed before anything is answered again, also an event that is there already: it
// may have been visible without being on disk.
//
// # Damage
//
// Each event has a CRC-32C of its key and itself. [Store.Open] reads the whole file before it
// answers anything, and [Store.Check] does the same by hand, as does "portluck alldata check DIR".
// They find, as an [ErrDamaged],
//
//   - a page that is in use twice, or neither in use nor free, or says that it is another one or
//     longer than what is in it;
//   - keys that are not in order, or not where the tree of pages leads to;
//   - a key or an event without its checksum, and another number of events than were put;
//   - a file that was cut off, and a head of the file that was overwritten, which Open mends if the
//     rest of the file leaves no doubt what it was.
//
// They do not find what nothing reads: a change to free pages, to the room that is left in others,
// and to the state before the last one. They do not find a change by somebody who computes the
// checksums too, or who puts an older copy of the file back. Nor do they know of what is damaged
// while the store is open: then Get, Range and Put of a damaged event are an ErrDamaged, but until
// the next Open damage to a key or a page can make Get say [ErrNotFound] and Put take another
// event, or never end.
//
// It takes 1 to 2 seconds per GiB with events of 200 bytes and half a second with events of 64 KiB,
// if the file is in memory, and otherwise as long as the disk takes to read it (go test -run '^$'
// -bench Open ./handlers/alldata). With [Store.SkipVerify] Open leaves out the events, which makes
// a difference if they are long: 0.8 and 0.15 seconds.
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
//   - Every address is listened on by default, as upstream's documentation says; its code has
//     localhost.
//   - Paths other than / and /_put are refused, unless Server.Paths has "*": upstream takes every
//     path.
//   - A key must be a string and is not empty, and there must be an event: upstream takes anything,
//     and an undefined key.
//   - A text that is not UTF-8 is refused: upstream keeps it damaged, as it does a character that
//     two packets share.
//   - Bodies, and what all take together, have a bound; so has every wait. An OnPut that never
//     answers is a 503.
//   - An OnPut that panics is a 500, which a peer tries again; in upstream one that throws is a
//     400.
//   - An address that is taken is an error of Listen; in upstream the process dies.
//   - The client tries again what may pass, by default five times, and never follows a redirect.
//     Its default port is the server's, 8080. It sends Content-Type and Content-Length.
//   - Keys are those of upstream but for the last nine digits: the rest of the nanoseconds, and
//     three digits that make keys of one nanosecond differ. Upstream has the nanoseconds of another
//     clock there, padded so that they do not sort.
//   - Any key may be put at any time: upstream's storage refuses those of other intervals than the
//     current ones.
package alldata
