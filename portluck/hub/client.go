package hub

import (
	"net/netip"
	"sync/atomic"

	"github.com/portluck/portluck/handlers"
)

// A Client is one client of the hub, connected or gone. Its methods may be called by any goroutine
// at any time.
type Client struct {
	who    atomic.Pointer[identity] // changed by become only
	stream handlers.Stream
	id     uint64

	// These are under hub.mu.
	prev, next *Client // in hub.head
	rooms      *seat   // the first of those that it is in
	left       bool    // it is in no room any more

	connected bool        // OnConnect has run; the goroutine that raises the events owns it
	gone      bool        // OnDisconnect has run; likewise
	remote    compactAddr // if who has none; it does not change
}

// ID numbers the clients of a hub from 1, in the order in which they came.
func (c *Client) ID() uint64 { return c.id }

// Protocol is "tcp", "http/1.1", "h2", "websocket" or the name that a handler of the program gave.
func (c *Client) Protocol() string { return c.who.Load().info.Protocol }

// Scheme is http, https, ws, wss, tcp, tls or the name that a handler of the program gave.
func (c *Client) Scheme() string { return c.who.Load().info.Scheme() }

// Local is the server's end of the connection; zero on a Unix socket.
func (c *Client) Local() netip.AddrPort { return c.who.Load().info.Local }

// Writer is where the client's replies go: the one that its callbacks get.
func (c *Client) Writer() *Writer { return (*Writer)(c) }

func (c *Client) binding() *Binding { return c.who.Load().binding }

func (c *Client) hub() *Hub { return c.binding().hub }

// kill ends the client from the server's side: OnDisconnect gets err.
func (c *Client) kill(err error) {
	c.blame(err)
	_ = c.guard(func() {
		if s, ok := c.stream.(quitter); ok {
			s.Quit(err)
			return
		}
		c.stream.Destroy()
	})
}

// A quitter is a stream that ends for a reason, unless it has ended for another one before.
type quitter interface{ Quit(err error) }

func (c *Client) quits() bool {
	_, ok := c.stream.(quitter)
	return ok
}

// connect raises OnConnect. It returns ErrPanic if the callback panics.
func (c *Client) connect() error {
	c.connected = true
	b := c.binding()
	b.meter(c)
	b.hub.add(c)
	if b.log != nil {
		b.log.Connected((*Session)(c))
	}
	if b.hub.OnConnect == nil {
		return nil
	}
	return c.guard(func() { b.hub.OnConnect(c.Writer(), c) })
}

// enter notes that c is in a room.
func (c *Client) enter(m *seat) error {
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

// exit notes that c is no more in r. It is nil if it was not.
func (c *Client) exit(r *Room) *seat {
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

// leaveRooms takes c out of every room, for good.
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

// guard runs a callback of the program, whose panic costs this client only.
func (c *Client) guard(f func()) error {
	logged := func(err error) { c.binding().panicked(c.Info(), err) }
	if err := handlers.GuardExit(f, logged); err != nil {
		logged(err)
		return handlers.ErrPanic
	}
	return nil
}
