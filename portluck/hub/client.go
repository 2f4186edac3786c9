package hub

import (
	"net/netip"
	"sync/atomic"

	"github.com/portluck/portluck/handlers"
)

// A Client is one client of a hub, connected or gone. Any goroutine may call its methods at any
// time.
type Client struct {
	who    atomic.Pointer[identity] // changed by setIdentity and setCause only
	stream handlers.Stream
	id     uint64

	// The hub's mu guards these.
	prev, next *Client     // in hub.head
	rooms      *membership // list of the client's memberships
	left       bool        // the client has left all rooms, for good

	// The goroutine that raises the events owns these.
	connected bool // OnConnect has begun
	gone      bool // Disconnect was called

	remote compactAddr // the client's Remote, if its identity has none; constant
}

// ID returns the client's number. A hub numbers its clients from 1, in the order in which they
// come.
func (c *Client) ID() uint64 { return c.id }

// Protocol returns "tcp", "http/1.1", "h2", "websocket", or the name that the client's handler
// gave.
func (c *Client) Protocol() string { return c.who.Load().info.Protocol }

// Scheme returns "http", "https", "ws", "wss", "tcp", "tls", or the name that the client's handler
// gave.
func (c *Client) Scheme() string { return c.who.Load().info.Scheme() }

// Local returns the address of the server's end of the connection; zero on a Unix socket.
func (c *Client) Local() netip.AddrPort { return c.who.Load().info.Local }

// Writer returns the writer that sends to the client: the one that its callbacks get.
func (c *Client) Writer() *Writer { return (*Writer)(c) }

// Rooms returns the rooms that the client is a member of, in no particular order.
func (c *Client) Rooms() []*Room {
	h := c.hub()
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []*Room
	for m := c.rooms; m != nil; m = m.sibling {
		all = append(all, m.group.room)
	}
	return all
}

func (c *Client) binding() *Binding { return c.who.Load().binding }

func (c *Client) hub() *Hub { return c.binding().hub }

// Kick ends the client for err: what is queued is sent, then what the client's protocol says of
// err, see [handlers.FarewellOf], such as close 1008 or a line; an HTTP response that has not begun
// gets the status of err, and one that has is broken off. The client's messages are dropped from
// now on, and OnDisconnect gets err, unless the client was ending already. A client that does not
// read is closed after 5 seconds. A nil err is [handlers.ErrPolicy]. Any goroutine may call Kick.
func (c *Client) Kick(err error) {
	if err == nil {
		err = handlers.ErrPolicy
	}
	c.setCause(err)
	_ = c.guard(func() {
		if s, ok := c.stream.(quitter); ok {
			s.Quit(err)
			return
		}
		c.stream.Destroy()
	})
	c.who.Load().attrs.cancelFor(err) // not before: a callback that waits for it may end the answer
}

// A quitter is a stream that can end for a reason. The reason has no effect on one that has ended.
type quitter interface{ Quit(err error) }

func (c *Client) quits() bool {
	_, ok := c.stream.(quitter)
	return ok
}

// connect raises OnConnect. It returns handlers.ErrPanic if the callback panics.
func (c *Client) connect() error {
	c.connected = true
	b := c.binding()
	b.meter(c)
	b.hub.add(c, c.logIn())
	if b.log != nil {
		b.log.Connected((*Session)(c))
	}
	if b.hub.OnConnect == nil {
		return nil
	}
	return c.guard(func() { b.hub.OnConnect(c.Writer(), c) })
}

// enter adds m to the client's memberships.
func (c *Client) enter(m *membership) error {
	h := c.hub()
	h.mu.Lock()
	defer h.mu.Unlock()
	if c.left {
		return handlers.ErrClosed
	}
	for o := c.rooms; o != nil; o = o.sibling {
		if o.group.room == m.group.room {
			return errMember
		}
	}
	m.sibling, c.rooms = c.rooms, m
	return nil
}

// exit removes the membership in r from the client's, and returns it; nil if there is none.
func (c *Client) exit(r *Room) *membership {
	h := c.hub()
	h.mu.Lock()
	defer h.mu.Unlock()
	for at := &c.rooms; *at != nil; at = &(*at).sibling {
		if m := *at; m.group.room == r {
			*at = m.sibling
			return m
		}
	}
	return nil
}

// leaveRooms ends all memberships of c. It can join no room afterwards.
func (c *Client) leaveRooms() {
	h := c.hub()
	h.mu.Lock()
	m := c.rooms
	c.rooms, c.left = nil, true
	h.mu.Unlock()
	for ; m != nil; m = m.sibling {
		m.leave()
	}
}

// guard runs f, a callback of the program. It logs a panic and returns handlers.ErrPanic.
func (c *Client) guard(f func()) error {
	logged := func(err error) { c.binding().panicked(c.Info(), err) }
	if err := handlers.GuardExit(f, logged); err != nil {
		logged(err)
		return handlers.ErrPanic
	}
	return nil
}
