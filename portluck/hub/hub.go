package hub

import (
	"sync"
	"sync/atomic"

	"github.com/portluck/portluck/handlers"
)

// A Hub has the events of every client of every protocol. Its zero value is ready: a client is
// accepted and what it says is dropped. The funcs are set before the first client comes and not
// changed after.
//
// The events of one client come one at a time and in order: OnConnect, its messages, OnDisconnect
// exactly once. Those of different clients come at once, from different goroutines. A callback may
// block: only its own client waits. A panic in one ends that client only, and so does
// [runtime.Goexit], except in callbacks of datagrams' clients, where it ends the socket's
// goroutine.
//
// A connection of raw TCP or WebSocket is one client; over HTTP each POST or PUT request is one.
type Hub struct {
	// OnConnect runs when a client is connected, before its first message. A raw client that has
	// said nothing for [Server.SniffTimeout] is connected too.
	OnConnect func(w *Writer, c *Client)
	// OnMessage runs for each message: a line of a raw stream or of a request body, a WebSocket
	// message. An HTTP response ends when the last OnMessage of its request has returned, unless
	// [Writer.DoneAfterWrite] or [Server.ExplicitDone] say otherwise.
	OnMessage func(m handlers.Message, w *Writer, c *Client)
	// OnDisconnect runs once for each client that was connected. err is nil when it left in good
	// order.
	OnDisconnect func(c *Client, err error)
	// RoomOptions says how the room of this name is to be; if nil all are of the zero
	// [RoomOptions]. It runs when [Hub.Room] is asked for a room that the hub does not know, by any
	// goroutine; "" is the room of [Hub.Broadcast].
	RoomOptions func(name string) RoomOptions
	// OnError runs for a connection or a request that failed before it was a client: it sent
	// garbage, was refused or stalled.
	OnError func(info *handlers.Info, err error)
	// OnGap is told how many messages have not come that were published on another server
	// ([Hub.Carry]); where origin is empty, have not gone from here to the others. Any goroutine
	// may call it; it must return soon.
	OnGap func(origin string, missed uint64)

	backplane  atomic.Pointer[handlers.Backplane]
	outbox     outbox
	binding    atomic.Pointer[Binding] // of the first server; nil before
	lastID     atomic.Uint64
	identities identities

	gathered sync.Once
	everyone atomic.Pointer[Room] // of Broadcast

	roomsMu sync.Mutex
	rooms   map[string]*Room

	mu   sync.Mutex
	head *Client // list of connected clients, newest first
	n    int
}

// panicked logs a panic in a callback that belongs to no client.
func (h *Hub) panicked(err error) { h.binding.Load().panicked(nil, err) }

// Clients returns the clients that are connected now, newest first.
func (h *Hub) Clients() []*Client {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := make([]*Client, 0, h.n)
	for c := h.head; c != nil; c = c.next {
		all = append(all, c)
	}
	return all
}

// Len returns how many clients are connected now.
func (h *Hub) Len() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.n
}

// Broadcast sends m to every connected client, framed as each one's protocol frames messages: it
// publishes it in the room that all clients are in. Unless RoomOptions says otherwise it waits for
// no client, and a client that reads too slowly is disconnected with [handlers.ErrSlow]. It returns
// how many clients there are.
func (h *Hub) Broadcast(m handlers.Message) int {
	h.gathered.Do(h.gather)
	r := h.everyone.Load()
	r.Publish(m)
	return int(r.members.Load())
}

// gather makes the room that everyone is in, at the first Broadcast: it costs nothing before.
func (h *Hub) gather() {
	r := h.newRoom("")
	h.everyone.Store(r)
	for _, c := range h.Clients() { // those that come later join by themselves
		_ = r.Join(c)
	}
}

func (h *Hub) add(c *Client) {
	h.mu.Lock()
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
	h.mu.Lock()
	defer h.mu.Unlock()
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
