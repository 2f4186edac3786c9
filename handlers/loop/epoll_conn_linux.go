package loop

import (
	"cmp"
	"io"
	"sync"
	"sync/atomic"

	"github.com/portluck/portluck/handlers"
	"golang.org/x/sys/unix"
)

// An epollConn is a connection of the epoll driver. While it is idle, it takes this struct and a
// descriptor.
//
// The goroutine that has set busy owns it: a runner, or a goroutine that takes a single turn. Only
// the owner decodes and raises events. Any goroutine may write, under mu.
type epollConn struct {
	loop  *Loop
	place io.Closer // an opening until it is driven, then what Close releases
	ev    Events
	codec handlers.Codec // the owner calls Decode, and sets it under mu
	tls   *tlsLink       // nil in the clear
	x     *extra         // nil while there is nothing to keep; under mu

	mu    sync.Mutex
	fd    int32 // -1 before it is opened and after it is closed; under mu
	slot  int32
	flags atomic.Uint32

	active atomic.Uint32 // when bytes were last read or written, in ms
	heard  uint32        // when bytes were last read; the owner's

	// These are the wheel's.
	next, prev link   // in the list of its bucket
	bucket     uint16 // plus one; 0 if it is not in the wheel

	// These are guarded by mu.
	todo    todo // for the owner
	life    life // the owner changes it, and may read it without mu
	sending sending
	busy    bool // it has an owner
	turning bool // the owner writes the queue after decoding
	watched bool // it is in the epoll set
	blocked bool // epoll reports when it is writable
	paused  bool // it is not read

	// These are the owner's.
	eof   bool // the peer has sent FIN
	cut   bool // that end was not clean
	hung  bool // epoll reported a FIN or an error: read until it comes
	marks bool // a read stops at each mark: read until EAGAIN
	begun bool // a message has begun: keep x
	asked bool // the peer was pinged, and has sent nothing since
	part  bool // a message is incomplete: keep x; the owner may read x.part
	late  bool // its deadline has passed, and it was given a grace period
}

// todo is a set of tasks for the owner of a connection.
type todo uint16

const (
	doOpen   todo = 1 << iota // announce it and watch it
	doRead                    // there is input
	doHangup                  // the other side has closed
	doMark                    // there is urgent data, whose place is a mark
	doWrite                   // the socket is writable
	doTimer                   // a deadline may have passed
	doEnd                     // it was destroyed, or may be able to end
	doHalt                    // the loop is shutting down
	doQuit                    // leave for the reason x.quit
	doWake                    // call Wake of its events
	doResume                  // decode the rest of the last read
)

// opening is what a connection needs until it is driven.
type opening struct {
	handlers.Conn
	info      *handlers.Info
	unread    []byte
	handshake bool      // the codec connects the client
	place     io.Closer // of the Conn that was detached
}

// Close closes the connection, or releases the place of one that was detached.
func (o *opening) Close() error {
	if o.place != nil {
		return o.place.Close()
	}
	return o.Conn.Close()
}

// opening returns the state before the connection is driven, nil from then on.
func (c *epollConn) opening() *opening {
	o, _ := c.place.(*opening)
	return o
}

// extra holds what a connection needs only while it is not idle.
type extra struct {
	out   []byte // the queue; out[at:] is unwritten
	at    int
	part  []byte // the beginning of an incomplete message
	over  bool   // part exceeds the budget
	half  bool   // it was half-open before it left
	ended bool   // the farewell was queued before writing failed
	kept  int    // bytes of it inside the codec
	since uint64 // when the incomplete message began; 0 if there is none
	held  bool   // reading waits until the peer reads
	asked int    // bytes of out that are replies of the codec

	why     error     // the reason in its farewell
	quit    error     // why Quit ended it
	cause   error     // why writing fails
	reason  reason    // the error for Disconnect; nil means a clean end
	shakeBy uint64    // deadline of the handshake
	haltBy  uint64    // deadline to end while the loop shuts down
	closeBy uint64    // deadline to close after our side has ended
	swallow int       // bytes that were discarded
	room    sync.Cond // where writers wait for space
	waiting int       // number of these writers
	feeds   []Drainer // called once the queue is empty
}

var extras = sync.Pool{New: func() any { return new(extra) }}

// keepOut is the capacity of the largest queue that is reused.
const keepOut = 256 << 10

var _ Conn = (*epollConn)(nil)

func (l *Loop) newPolled(c handlers.Conn, a handlers.Attachment) Conn {
	if !canDetach(c) || l.poller.start(l) != nil {
		return nil
	}
	start := &opening{Conn: c, info: cmp.Or(a.Info, c.Info()), unread: a.Unread, handshake: a.Handshake}
	return &epollConn{loop: l, place: start, codec: a.Codec, fd: -1, slot: -1}
}

// Start is [Conn.Start].
func (c *epollConn) Start(ev Events) (run func()) {
	c.ev = ev
	if c.loop.poller.admit(c) {
		c.hear(c.now())
		return c.open
	}
	c.mu.Lock()
	c.sending, c.life = sendingBroken, lifeOver
	c.mu.Unlock()
	c.flags.Or(flagDestroyed)
	c.place.Close()
	c.loop.tasks.Go(func() { ev.Disconnect(handlers.ErrShutdown) }) // not in the accepting goroutine
	return nil
}

// attach gets the connection's descriptor. It returns false, and ends the connection, if that
// fails.
func (c *epollConn) attach() bool {
	c.mu.Lock()
	ok := c.attachLocked()
	c.mu.Unlock()
	if !ok {
		c.leave(nil)
	}
	return ok
}

// attachLocked is like attach but leaves it to the caller to end the connection.
func (c *epollConn) attachLocked() bool {
	switch {
	case c.fd >= 0:
		return true
	case c.sending == sendingBroken:
		return false
	}
	start := c.opening()
	d, err := detach(start.Conn)
	if err != nil {
		c.breakLocked(err)
		return false
	}
	c.fd, c.tls = int32(d.fd), d.tls
	info := start.Conn.Info()
	c.marks = info.Peer != nil || !info.Remote.IsValid() // a Unix socket may pass descriptors
	start.Conn, start.place = nil, d.place
	start.unread = append(d.unread, start.unread...)
	return true
}

// watch adds a connection that outlives its first turn to the epoll set. A short one never needs
// it.
func (c *epollConn) watch() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.watched {
		c.watchLocked()
	}
}

// watchLocked adds the connection to the epoll set: for input and, after a write has blocked, for
// writability. epoll also reports what is ready already.
func (c *epollConn) watchLocked() {
	if c.life == lifeOver || c.fd < 0 {
		return
	}
	op, events := unix.EPOLL_CTL_ADD, uint32(pollEvents)
	if c.watched {
		op = unix.EPOLL_CTL_MOD
	}
	if c.watched = true; c.blocked {
		events |= unix.EPOLLOUT
	}
	if err := c.loop.poller.watch(c, op, events); err != nil {
		c.breakLocked(err)
		c.postLocked(doEnd)
	}
}

func (c *epollConn) now() uint64 { return c.loop.poller.now() }
