package udp

import (
	"errors"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/portluck/portluck/handlers"
)

// when says how soon put sends a datagram.
type when bool

const (
	now when = false // before put returns, if the socket takes it
	// later, by another goroutine and together with others, as the caller may hold a lock
	soon when = true
)

// output holds the datagrams to send from one socket. The goroutine that puts a datagram in also
// sends it, unless another goroutine is already about to send; then that one sends both.
type output struct {
	socket *socket
	many   []departure // used only by the goroutine that flushes

	mu          sync.Mutex
	next, taken queue
	flushing    bool // some goroutine sends what is in taken
	corked      bool // the goroutine that raises events flushes after them
	closed      bool
	// closed when the queue is empty, for Shutdown; nil if nobody waits
	idle chan struct{}
}

// queue is a queue of datagrams.
type queue struct {
	items []item
	buf   []byte
}

type item struct {
	client *client
	end    int // the end of its bytes in buf
}

// itemCost is what a datagram counts in MaxQueue besides its bytes.
const itemCost = 32

func (q *queue) size() int { return len(q.buf) + itemCost*len(q.items) }

// keep bounds the memory that an empty queue holds on to.
const keep = 64 << 10

func (q *queue) reset() {
	clear(q.items)
	q.items, q.buf = q.items[:0], q.buf[:0]
	if cap(q.buf) > keep || cap(q.items) > keep/16 {
		*q = queue{}
	}
}

// put sends one datagram to c, or queues it. With line it adds a line end.
func (o *output) put(c *client, p []byte, line bool, w when) error {
	s := o.socket.srv
	size := len(p)
	if line {
		size++
	}
	o.mu.Lock()
	switch {
	case c.ended || o.closed:
		o.mu.Unlock()
		return handlers.ErrClosed
	case o.next.size() > 0 && o.next.size()+o.taken.size()+size > s.maxQueue():
		o.mu.Unlock()
		s.counters.dropped.Add(1)
		return handlers.ErrSlow
	case !c.free && !s.affords(c, size):
		o.mu.Unlock()
		s.counters.unvalidated.Add(1)
		return ErrUnvalidated
	}
	o.next.buf = append(o.next.buf, p...)
	if line {
		o.next.buf = append(o.next.buf, '\n')
	}
	o.next.items = append(o.next.items, item{c, len(o.next.buf)})
	full := len(o.next.items) >= s.batch()
	if o.flushing || o.corked && !full {
		o.mu.Unlock()
		return nil
	}
	o.flushing = true
	if w == soon || !o.socket.wire.prompt() {
		o.socket.srv.tasks.Go(o.flushWaiting) // ends when the queue is empty
		o.mu.Unlock()
		return nil
	}
	o.mu.Unlock()
	o.flush()
	return nil
}

// cork delays flushing until uncork.
func (o *output) cork() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.corked = true
}

// uncork sends what was delayed since cork.
func (o *output) uncork() {
	o.mu.Lock()
	o.corked = false
	if o.flushing || len(o.next.items) == 0 {
		o.mu.Unlock()
		return
	}
	o.flushing = true
	if !o.socket.wire.prompt() {
		o.socket.srv.tasks.Go(o.flushWaiting) // ends when the queue is empty
		o.mu.Unlock()
		return
	}
	o.mu.Unlock()
	o.flush()
}

// rounds is how many batches flush sends before it leaves the rest to another goroutine, as its
// caller has other things to do.
const rounds = 4

// flush sends the queue. If the system does not take everything at once, another goroutine sends
// the rest.
func (o *output) flush() {
	for range rounds {
		if !o.takeNext() {
			return
		}
		if !o.writeTaken(false) {
			break
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.socket.srv.tasks.Go(o.flushWaiting) // ends when the queue is empty
}

// flushWaiting sends the queue. It waits for the system to take each batch, up to WriteTimeout.
func (o *output) flushWaiting() {
	for o.takeNext() {
		o.writeTaken(true)
	}
}

// takeNext moves the queued datagrams into many, unless some from an earlier call are left there.
// If there are none it clears flushing and returns false.
func (o *output) takeNext() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.many) > 0 {
		return true
	}
	o.taken.reset()
	if len(o.next.items) == 0 || o.closed {
		o.next.reset()
		o.flushing = false
		if o.idle != nil {
			close(o.idle)
			o.idle = nil
		}
		return false
	}
	o.next, o.taken = o.taken, o.next
	from := 0
	for _, it := range o.taken.items {
		if !it.client.void {
			o.many = append(o.many, departure{o.taken.buf[from:it.end], it.client.remote, it.client.path})
		}
		from = it.end
	}
	return true
}

// writeTaken sends what takeNext took. Without wait it returns false if the system takes no more
// now.
func (o *output) writeTaken(wait bool) bool {
	k := o.socket
	c := &k.srv.counters
	left := o.many
	for len(left) > 0 {
		if wait {
			_ = k.pc.SetWriteDeadline(time.Now().Add(k.srv.writeTimeout()))
		}
		n, err := k.wire.write(left, wait)
		for _, d := range left[:n] {
			c.bytesOut.Add(uint64(len(d.data)))
		}
		c.sent.Add(uint64(n))
		if left = left[n:]; err == nil {
			continue
		}
		if errors.Is(err, errWouldBlock) && !wait {
			o.many = o.many[:copy(o.many, left)]
			return false
		}
		left = o.refused(left, err)
	}
	clear(o.many)
	o.many = o.many[:0]
	if wait {
		_ = k.pc.SetWriteDeadline(time.Time{})
	}
	return true
}

// refused handles the error of sending left[0]. It returns the datagrams that may still be sent.
func (o *output) refused(left []departure, err error) []departure {
	s := o.socket.srv
	var ne interface{ Timeout() bool }
	switch d := &left[0]; {
	case isClosed(err):
		s.counters.dropped.Add(uint64(len(left)))
		return nil
	case errors.Is(err, errWouldBlock) || errors.As(err, &ne) && ne.Timeout():
		s.counters.dropped.Add(uint64(len(left)))
		o.socket.fail(netip.AddrPort{}, err)
		return nil
	case d.from.oob != nil && (errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.EADDRNOTAVAIL)):
		// The address is gone, or cannot be a source. Let the system choose one.
		d.from.oob = nil
		return left
	case d.from.oob != nil && (errors.Is(err, syscall.ENETUNREACH) || errors.Is(err, syscall.EHOSTUNREACH)):
		// It may be a broadcast address, or have no route for now. Let the system choose this once.
		d.from = &path{socket: d.from.socket, local: d.from.local}
		return left
	}
	s.counters.sendErrors.Add(1)
	o.socket.fail(left[0].to, err)
	return left[1:]
}

// end stops sending to c, and if void drops what is queued for it. It reports whether c had already
// ended.
func (o *output) end(c *client, void bool) (before bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	before = c.ended
	c.ended, c.void = true, c.void || void
	return before
}

// validate removes the bound on unvalidated clients from c.
func (o *output) validate(c *client) {
	o.mu.Lock()
	defer o.mu.Unlock()
	c.free = true
}

// drained returns a channel that is closed when the queue is empty.
func (o *output) drained() <-chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.idle == nil {
		o.idle = make(chan struct{})
	}
	idle := o.idle
	if !o.flushing && len(o.next.items) == 0 {
		close(o.idle)
		o.idle = nil
	}
	return idle
}

// close drops the queue.
func (o *output) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	o.socket.srv.counters.dropped.Add(uint64(len(o.next.items)))
	o.next.reset()
}
