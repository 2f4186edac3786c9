package portluck

import (
	"time"
)

// place is the position of a connection in a sniffer. fifo is nil while it is in none.
type place struct {
	fifo       *fifo
	prev, next *conn
	deadline   time.Time
	slot       int32
	generation uint32 // incremented whenever the connection leaves its slot
	busy       bool   // the sniffer's goroutine is looking at it
	hup        bool   // the peer has sent FIN, or the connection is broken
}

// fifo is a list of connections with equally long bounds, so the oldest expires next.
type fifo struct {
	head, tail *conn
	n          int
}

func (f *fifo) push(c *conn, deadline time.Time) {
	pl := &c.place
	pl.fifo, pl.deadline, pl.prev, pl.next = f, deadline, f.tail, nil
	if f.tail != nil {
		f.tail.place.next = c
	} else {
		f.head = c
	}
	f.tail = c
	f.n++
}

func (f *fifo) remove(c *conn) {
	pl := &c.place
	if pl.prev != nil {
		pl.prev.place.next = pl.next
	} else {
		f.head = pl.next
	}
	if pl.next != nil {
		pl.next.place.prev = pl.prev
	} else {
		f.tail = pl.prev
	}
	pl.fifo, pl.prev, pl.next = nil, nil, nil
	f.n--
}
