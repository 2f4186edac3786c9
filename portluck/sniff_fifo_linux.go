package portluck

import (
	"time"
)

// place is where a connection is in a sniffer. It is in none if fifo is nil.
type place struct {
	fifo       *fifo
	prev, next *conn
	deadline   time.Time
	slot       int32
	generation uint32 // of slot, counted up whenever it is left
	busy       bool   // the goroutine is looking at it
	hup        bool   // FIN has come
}

// fifo is a list of connections that have equally long: the oldest is the next to expire.
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
