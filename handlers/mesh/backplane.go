package mesh

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"sync"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/internal/setting"
)

// A Backplane carries the messages of rooms between the nodes of a mesh. It is a
// [handlers.Backplane] for the Carry of a portluck.Hub. Its Serve is the OnConnection of the
// [Node]. The zero value is ready.
//
// Each node sends its messages to all others, and none forwards them. A peer that does not keep up
// is disconnected. When it connects again, its Subscriber learns how many messages it has missed.
type Backplane struct {
	// Limit is the longest message in bytes, sent and received; 1 MiB if zero, none if negative.
	// Without one a peer can fill the memory.
	Limit int
	// OnLine is called with each line that does not belong to this protocol; calls for one peer do
	// not overlap. line is valid during the call.
	OnLine func(c *Conn, line []byte)

	mu         sync.Mutex
	closed     bool
	subscribed bool
	subscriber handlers.Subscriber
	epoch      uint64 // of what we publish; 0 before the first use
	seq        uint64 // of the last that we have published
	conns      map[*Conn]bool
	origins    map[string]*origin // by id
	stats      BackplaneStats
}

var _ handlers.Backplane = (*Backplane)(nil)

// BackplaneStats counts messages since the beginning.
type BackplaneStats struct {
	Published uint64 // here
	Delivered uint64 // from elsewhere
	Missed    uint64 // published elsewhere and known to be lost
	Nodes     int    // connected now that speak this protocol
}

// origin is another node that publishes.
type origin struct {
	epoch uint64
	last  uint64 // the number of the last message that has come, or of which was told that it will not
	conn  *Conn  // that it speaks on; nil if none
	done  chan struct{}
}

// maxOrigins is how many nodes are remembered, with those that are gone.
const maxOrigins = 4096

var errSubscribed = errors.New("mesh: the backplane has a subscriber already")

// Publish sends m to all other nodes. It does not wait. A message longer than the Limit is refused
// with [handlers.ErrTooLong].
func (b *Backplane) Publish(room string, m handlers.Message) error {
	if len(m.Data) > b.limit() || len(room) > maxRoom {
		return fmt.Errorf("mesh: message in room %.40q: %w", room, handlers.ErrTooLong)
	}
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return handlers.ErrClosed
	}
	b.seq++
	b.stats.Published++
	p := appendMessage(nil, b.seq, room, m)
	var slow []*Conn
	for c := range b.conns {
		// Send only queues. It is called under the lock, so that all peers get the same order.
		if err := c.Send(p); errors.Is(err, handlers.ErrSlow) {
			slow = append(slow, c)
		}
	}
	b.mu.Unlock()
	for _, c := range slow {
		c.abort(handlers.ErrSlow)
		c.node.fail(fmt.Errorf("mesh: peer %s at %s: %w", c.id, c.RemoteAddr(), handlers.ErrSlow))
	}
	return nil
}

// Subscribe sets the funcs that are called with what the other nodes publish. A second call fails.
func (b *Backplane) Subscribe(s handlers.Subscriber) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.closed:
		return handlers.ErrClosed
	case b.subscribed:
		return errSubscribed
	}
	b.subscriber, b.subscribed = s, true
	return nil
}

// Stats returns the counters.
func (b *Backplane) Stats() BackplaneStats {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.stats
	for _, o := range b.origins {
		if o.conn != nil {
			s.Nodes++
		}
	}
	return s
}

// Close ends the connections. A callback may call it, so it does not wait for callbacks: one may
// still run when Close returns. The node goes on.
func (b *Backplane) Close() error {
	b.mu.Lock()
	b.closed = true
	for c := range b.conns {
		c.Close()
	}
	b.mu.Unlock()
	return nil
}

func (b *Backplane) limit() int { return setting.Or(b.Limit, 1<<20, math.MaxInt/2) }

// Serve speaks with one other node until the connection ends. It is for [Node.OnConnection].
func (b *Backplane) Serve(c *Conn) {
	if !b.enter(c) {
		c.Close()
		return
	}
	defer b.leave(c)
	r := bufio.NewReaderSize(c, maxLine)
	f := frames{limit: b.limit()}
	var from *origin
	var id string
	defer func() { b.part(from) }()
	for {
		kind, err := f.next(r)
		if err != nil {
			if errors.Is(err, handlers.ErrProtocol) || errors.Is(err, handlers.ErrTooLong) {
				c.abort(err)
				c.node.fail(fmt.Errorf("mesh: backplane: peer %s at %s: %w", c.id, c.RemoteAddr(), err))
			}
			return
		}
		switch {
		case kind == frameLine:
			if err := b.line(c, f.line); err != nil {
				c.abort(errPanic)
				c.node.fail(fmt.Errorf("mesh: OnLine: %w", err))
				return
			}
		case kind == frameAt && from == nil && (c.id == "" || c.id == f.id) && f.id != c.node.LocalID():
			id = f.id
			var missed uint64
			from, missed = b.meet(c, id, &f)
			b.gap(c, id, missed, f.seq+1)
		case kind == frameMessage && from != nil:
			b.deliver(c, from, id, &f)
		default:
			c.abort(handlers.ErrProtocol)
			c.node.fail(fmt.Errorf("mesh: backplane: peer %s at %s: %w", c.id, c.RemoteAddr(), handlers.ErrProtocol))
			return
		}
	}
}

// line calls OnLine.
func (b *Backplane) line(c *Conn, line []byte) error {
	b.mu.Lock()
	closed := b.closed
	b.mu.Unlock()
	if b.OnLine == nil || closed {
		return nil
	}
	return handlers.Guard(func() { b.OnLine(c, line) })
}

// enter adds c to the connections that get messages, and sends it the number of the last one.
func (b *Backplane) enter(c *Conn) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return false
	}
	for b.epoch == 0 {
		b.epoch = rand.Uint64()
	}
	if b.conns == nil {
		b.conns, b.origins = map[*Conn]bool{}, map[string]*origin{}
	}
	b.conns[c] = true
	_ = c.Send(appendAt(nil, c.node.LocalID(), b.epoch, b.seq)) // an error shows in Serve
	return true
}

func (b *Backplane) leave(c *Conn) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.conns, c)
}

// meet makes c the connection that an origin speaks on. It returns how many messages were missed
// since the last one.
func (b *Backplane) meet(c *Conn, id string, f *frames) (o *origin, missed uint64) {
	for {
		b.mu.Lock()
		o := b.origins[id]
		if o == nil || o.conn == nil {
			break
		}
		old, done := o.conn, o.done
		b.mu.Unlock()
		old.abort(errSecond) // the peer has lost it; what has come over it is still delivered
		<-done
	}
	o = b.origins[id]
	known := o != nil
	if !known {
		b.makeRoomLocked()
		o = &origin{}
		b.origins[id] = o
	}
	switch {
	case o.epoch == f.epoch:
		missed = f.seq - min(o.last, f.seq)
	case known:
		missed = f.seq // it has begun again
	}
	o.epoch, o.last, o.conn, o.done = f.epoch, f.seq, c, make(chan struct{})
	b.mu.Unlock()
	return o, missed
}

// makeRoomLocked forgets an origin that is gone if there are too many.
func (b *Backplane) makeRoomLocked() {
	if len(b.origins) < maxOrigins {
		return
	}
	for id, o := range b.origins {
		if o.conn == nil {
			delete(b.origins, id)
			return
		}
	}
}

// part notes that the connection of an origin has ended.
func (b *Backplane) part(o *origin) {
	if o == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	o.conn = nil
	close(o.done)
}

// deliver passes a message to the subscriber, after the gap before it.
func (b *Backplane) deliver(c *Conn, o *origin, id string, f *frames) {
	if f.seq <= o.last { // only this goroutine has o while it is o.conn's
		return
	}
	missed := f.seq - o.last - 1
	b.mu.Lock()
	o.last = f.seq
	b.stats.Delivered++
	b.mu.Unlock()
	b.gap(c, id, missed, f.seq)
	b.tell(c, func(s handlers.Subscriber) {
		if s.Deliver != nil {
			s.Deliver(handlers.Delivery{Origin: id, Seq: f.seq, Room: f.room, Message: f.message})
		}
	})
}

// gap reports missed messages to the subscriber.
func (b *Backplane) gap(c *Conn, id string, missed, next uint64) {
	if missed == 0 {
		return
	}
	b.mu.Lock()
	b.stats.Missed += missed
	b.mu.Unlock()
	b.tell(c, func(s handlers.Subscriber) {
		if s.Gap != nil {
			s.Gap(id, missed, next)
		}
	})
}

// tell calls f with the subscriber, unless b is closed. A panic costs this call only.
func (b *Backplane) tell(c *Conn, f func(s handlers.Subscriber)) {
	b.mu.Lock()
	s, closed := b.subscriber, b.closed
	b.mu.Unlock()
	if closed {
		return
	}
	if err := handlers.Guard(func() { f(s) }); err != nil {
		c.node.fail(fmt.Errorf("mesh: backplane: subscriber: %w", err))
	}
}

// eof says that an error is the end of the stream.
func eof(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) }
