package udp

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/portluck/portluck/handlers"
)

// client is one remote address. It is the [handlers.Stream] of the hub's client. While it is idle
// it uses no other memory.
type client struct {
	key

	// heard is when its last datagram came, as the time since the server's start.
	heard atomic.Int64

	// Guarded by output.mu of its socket.
	bytes, datagrams uint32 // that may be sent to it while it is not validated
	free             bool   // it is validated, so that bytes and datagrams do not count
	ended            bool   // nothing more is queued for it
	void             bool   // what is queued for it is not sent

	// Guarded by Server.mu.
	hub         handlers.Client // nil before OnConnect
	why         error           // the reason it is disconnected
	prev, next  *client         // in table.lists, until it leaves
	ready       *client         // the next one in socket.ready
	first, last *packet         // the queue of datagrams for its callbacks
	// waiting is the length of the queue. Datagrams that come after c has begun to leave belong to its
	// successor.
	waiting uint16
	// own is how many of the queue c still delivers once it leaves.
	own     uint16
	level   level
	busy    bool // it is in socket.ready, or its callback runs
	leaving bool
	gone    bool // no more events are raised
}

var _ handlers.Stream = (*client)(nil)

func (c *client) seen() time.Duration { return time.Duration(c.heard.Load()) }

// Write sends p as one datagram. It does not wait.
func (c *client) Write(p []byte, _ handlers.Kind) (int, error) {
	if err := c.send(p, false, now); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Send sends p as one datagram. It does not wait.
func (c *client) Send(p []byte, _ handlers.Kind) error {
	return c.send(p, c.path.socket.srv.Lines, now)
}

// TrySend sends a message of a room. If the client gets no room traffic now, TrySend drops and
// counts the message.
func (c *client) TrySend(p []byte, _ handlers.Kind) error {
	s := c.path.socket.srv
	if !s.hearsRooms(c) {
		s.counters.muted.Add(1)
		return nil
	}
	err := c.send(p, s.Lines, soon)
	if err == ErrUnvalidated {
		return nil // the message is counted, and the next one may be shorter
	}
	return err
}

// hearsRooms reports whether c gets room traffic now.
func (s *Server) hearsRooms(c *client) bool {
	return isIn(c.remote.Addr(), s.RoomsTo) && s.now()-c.seen() <= s.roomWindow()
}

// The lengths of headers, which leave less for data. A datagram has at most 65,535 bytes, including
// the headers of IP and UDP in IPv4, and that of UDP in IPv6.
const (
	maxPayload4 = maxDatagram - 20 - 8
	maxPayload6 = maxDatagram - 8
)

func (c *client) send(p []byte, line bool, w when) error {
	size, most := len(p), maxPayload6
	if c.remote.Addr().Is4() {
		most = maxPayload4
	}
	if line {
		size++
	}
	if size > most {
		return fmt.Errorf("%w: %d bytes, and a datagram has at most %d", handlers.ErrTooLong, size, most)
	}
	return c.path.socket.out.put(c, p, line, w)
}

// End ends the client. The peer does not learn of it, as UDP has no end of a connection. What was
// written is still sent. Datagrams that were not delivered yet, and later ones, belong to a new
// client.
func (c *client) End() error { return c.quit(keepWaiting) }

// Destroy ends the client at once. It drops what is queued and what waits to be delivered.
func (c *client) Destroy() { _ = c.quit(dropWaiting) }

func (c *client) quit(w waiting) error {
	k := c.path.socket
	if k.out.end(c, w == dropWaiting) && w != dropWaiting {
		return handlers.ErrClosed
	}
	k.srv.mu.Lock()
	defer k.srv.mu.Unlock()
	c.leaveLocked(nil, w)
	return nil
}

// waiting says what happens to the datagrams that wait for the callbacks of a client that leaves.
type waiting int

const (
	deliverWaiting waiting = iota // they are delivered first
	keepWaiting                   // they go to a new client
	dropWaiting                   // they are dropped, and so is what is queued to be sent
)

// leaveLocked begins to disconnect c.
func (c *client) leaveLocked(why error, w waiting) {
	s := c.path.socket.srv
	if c.gone {
		return
	}
	if !c.leaving {
		s.table.lists[c.level].remove(c)
		c.leaving, c.why = true, why
		if w != keepWaiting {
			c.own = c.waiting
		}
	}
	if w == dropWaiting {
		c.path.socket.out.end(c, true)
		for ; c.own > 0; c.own-- {
			s.freeLocked(c.takeLocked())
			s.counters.overflowed.Add(1)
		}
	}
	c.path.socket.readyLocked(c)
}

// info describes c for the hub.
func (c *client) info() *handlers.Info {
	return &handlers.Info{Protocol: Protocol, Local: c.path.local, Remote: c.remote}
}
