package hub

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/loop"
)

// A Hub receives the events of every client of every protocol. Its zero value is ready: it accepts
// clients and drops what they say. Set the funcs before the first client connects, and do not
// change them after.
//
// The events of one client come one at a time and in order: OnConnect, its messages, then exactly
// one OnDisconnect. Events of different clients come at the same time, from different goroutines. A
// callback may block: only its own client waits. A panic in a callback ends only that client, and
// so does [runtime.Goexit], except for a client of datagrams, where it ends the goroutine of the
// socket.
//
// A raw TCP connection is one client, and so is a WebSocket. Over HTTP each POST or PUT request is
// one.
type Hub struct {
	// OnHandshake, if not nil, is asked about each client before its OnConnect: it returns nil to
	// admit the client, after it has set what it knows in h, or the error that refuses it. A
	// *[handlers.Refusal] says what the client is told; any other error that [handlers.FarewellOf]
	// does not know refuses it as [handlers.ErrPolicy]. OnError gets the error.
	//
	// It runs in a goroutine of its own and may block. ctx ends at the server's HandshakeTimeout, at
	// the end of a shutdown's patience, and when an HTTP client goes: the client is refused then,
	// whether or not OnHandshake has returned. A panic refuses the client.
	OnHandshake func(ctx context.Context, h *handlers.Handshake) error
	// OnConnect runs when a client has connected, before its first message. A raw client that says
	// nothing is connected after the server's SniffTimeout.
	OnConnect func(w *Writer, c *Client)
	// OnMessage runs for each message: a line of a raw stream or of a request body, or a WebSocket
	// message. m.Data is valid until OnMessage returns. An HTTP response ends when the last
	// OnMessage of its request has returned, unless the server's ExplicitDone is set or the
	// callback called [Writer.DoneAfterWrite].
	OnMessage func(m handlers.Message, w *Writer, c *Client)
	// OnDisconnect runs once for each client that had an OnConnect. err is nil if the client left
	// in good order.
	OnDisconnect func(c *Client, err error)
	// RoomOptions returns the options of the room of this name; if nil, all rooms have the zero
	// [RoomOptions]. Any goroutine may call it, whenever [Hub.Room] is called for a room that the
	// hub does not know. The name "" is the room of [Hub.Broadcast].
	RoomOptions func(name string) RoomOptions
	// OnJoin decides whether a client that asks to join a room may; nil lets all in. An error refuses
	// the client as that of OnHandshake does. Clients ask by an event stream or a long poll (RoomOf
	// of the server), and have had no OnConnect then. OnJoin may block. A program that calls
	// [Room.Join] itself is not asked.
	OnJoin func(r *Room, c *Client) error
	// OnError runs for a connection or a request that failed before it became a client: it sent
	// garbage, was refused, or stalled.
	OnError func(info *handlers.Info, err error)
	// OnGap runs when messages were lost between servers ([Hub.Carry]): missed is the number of
	// messages of the server origin that did not reach this hub or, if origin is empty, of this hub
	// that did not reach the others. Any goroutine may call it. It must return soon.
	OnGap func(origin string, missed uint64)

	tasks      loop.Tasks   // deliveries, and posts to the backplane
	bound      atomic.Int64 // bindings that have not ended
	backplane  atomic.Pointer[handlers.Backplane]
	outbox     outbox
	binding    atomic.Pointer[Binding] // of the first server; nil before
	lastID     atomic.Uint64
	identities identities

	gathered sync.Once
	everyone atomic.Pointer[Room] // of Broadcast; nil before the first

	roomsMu sync.Mutex
	rooms   map[string]*Room

	mu    sync.Mutex
	head  *Client              // list of connected clients, newest first
	n     int                  // its length
	byID  map[uint64]*Client   // made by Client
	users map[string][]*Client // those with a user; nil before the first
}

// panicked logs a panic in a callback that belongs to no client.
func (h *Hub) panicked(err error) { h.binding.Load().panicked(nil, err) }

// Clients returns the connected clients, newest first.
func (h *Hub) Clients() []*Client {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := make([]*Client, 0, h.n)
	for c := h.head; c != nil; c = c.next {
		all = append(all, c)
	}
	return all
}

// Len returns the number of connected clients.
func (h *Hub) Len() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.n
}

// Broadcast sends m to every connected client: it publishes m in the room "", of which all clients
// are members, and returns their number. Unless RoomOptions says otherwise, it waits for no client,
// and disconnects a client that reads too slowly with [handlers.ErrSlow].
func (h *Hub) Broadcast(m handlers.Message) int {
	h.gathered.Do(h.gather)
	r := h.everyone.Load()
	r.Publish(m)
	return int(r.members.Load())
}

// gather makes the room of Broadcast. It runs at the first Broadcast, so that the room costs
// nothing before.
func (h *Hub) gather() {
	r := h.newRoom("")
	h.everyone.Store(r)
	for _, c := range h.Clients() { // add joins the later ones
		_ = r.Join(c)
	}
}

func (h *Hub) add(c *Client, user string) {
	h.mu.Lock()
	h.indexLocked(c, user)
	if h.head != nil {
		h.head.prev = c
	}
	c.next, h.head = h.head, c
	h.n++
	h.mu.Unlock()
	if r := h.everyone.Load(); r != nil {
		_ = r.Join(c)
	}
}

func (h *Hub) remove(c *Client) {
	user := c.User()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.unindexLocked(c, user)
	if c.prev != nil {
		c.prev.next = c.next
	} else {
		h.head = c.next
	}
	if c.next != nil {
		c.next.prev = c.prev
	}
	c.prev, c.next = nil, nil
	h.n--
}
