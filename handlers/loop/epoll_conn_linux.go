package loop

import (
	"io"
	"sync"
	"sync/atomic"

	"github.com/portluck/portluck/handlers"
	"golang.org/x/sys/unix"
)

// polled is a connection of the epoll driver: while it is idle, this struct and a descriptor.
//
// Whoever has set busy owns it: a runner, or a goroutine of its own that takes a turn. Only the owner decodes and
// raises events. Any goroutine may write, under mu.
type polled struct {
	loop  *Loop
	place io.Closer // what is left of the connection, besides its descriptor; before it is driven, an opening
	ev    Events
	link  *tlsLink // nil in the clear

	// These are the owner's.
	eof   bool // the peer has sent FIN
	cut   bool // that was no end in good order
	hung  bool // epoll has told of a FIN or an error: read on until it is there
	marks bool // a read ends at each mark: read on until there is no more
	shake bool // the client is not connected yet
	begun bool // a message has begun: x stays
	asked bool // the peer was pinged, and has sent nothing since
	part  bool // there is a message that is not whole: x stays, and its part is the owner's to read
	late  bool // its time is up, and it has had a moment more

	// These are the wheel's.
	later, sooner *polled
	bucket        uint16
	timed         bool

	slow   atomic.Bool   // its last turn took its time: the next one has a goroutine of its own
	dead   atomic.Bool   // destroyed: no more events but the last
	active atomic.Uint32 // when bytes last came or went, in milliseconds
	heard  uint32        // when bytes last came; the owner's

	mu      sync.Mutex
	codec   handlers.Codec // Decode is the owner's, which alone sets it
	x       *extra         // nil while there is nothing to be kept
	fd      int32          // -1 before it is opened and after it is closed
	slot    int32
	todo    todo // for the owner
	busy    bool // somebody owns it
	turning bool // the owner will write what is queued when it has decoded
	parked  bool // its parking has it
	lent    bool // it has not begun, or its parking has it or has yet to say so: nobody may own it
	watched bool // epoll knows it
	blocked bool // epoll tells when it can be written to
	ended   bool // the farewell is queued or was written: nothing is added
	shut    bool // our FIN was sent
	broken  bool // nothing can be written any more
	paused  bool // it is not read
	half    bool // the peer has sent its last, and the program may still write; the owner sets it
	leaving bool // it ends once what is queued has gone
	lingers bool // what comes is swallowed
	over    bool // it has ended
}

// todo is what the owner of a connection is to do.
type todo uint16

const (
	doOpen   todo = 1 << iota // announce it
	doDrive                   // watch it: it was announced, or waited to be
	doRead                    // there is something to be read
	doHangup                  // the other side has closed
	doMark                    // there is urgent data, whose place is a mark
	doWrite                   // there is room in the kernel
	doTimer                   // a deadline may have passed
	doEnd                     // it was destroyed, or is to be looked at for its end
	doHalt                    // the loop is shutting down
	doQuit                    // it is to leave, for x.quit
	doTake                    // its parking is to be asked for it
	doWake                    // its events are to be woken
	doResume                  // what is left of the last read may be decoded again
)

// opening is what a connection needs until it is driven.
type opening struct {
	handlers.Conn
	info    *handlers.Info
	unread  []byte
	parking Parking
	place   io.Closer // of the Conn that was detached
}

// Close closes the connection, or gives back the place of one that was detached.
func (o *opening) Close() error {
	if o.place != nil {
		return o.place.Close()
	}
	return o.Conn.Close()
}

// opening is nil once the connection is driven.
func (c *polled) opening() *opening {
	o, _ := c.place.(*opening)
	return o
}

// extra is what a connection has while it is not idle.
type extra struct {
	out   []byte // to be written from at on
	at    int
	part  []byte // the beginning of a message that is not whole
	over  bool   // part is longer than the budget allows
	kept  int    // bytes of it that the codec keeps
	since uint64 // when the message that is not whole began; 0 if there is none
	held  bool   // it is not read until its peer reads
	asked int    // bytes of out that the codec has answered

	why     error     // what its farewell tells
	quit    error     // it is to leave
	cause   error     // why nothing can be written
	reason  reason    // what Disconnect tells; a good end if none is given
	shakeBy uint64    // by then the handshake is complete
	haltBy  uint64    // the loop is shutting down: by then it ends
	closeBy uint64    // our side has ended: by then it closes
	swallow int       // bytes that were swallowed
	room    sync.Cond // of writers that wait
	waiting int       // how many
	feeds   []Drainer // that wait for the queue to be empty
}

var extras = sync.Pool{New: func() any { return new(extra) }}

// keepOut is the largest queue whose memory is used again.
const keepOut = 256 << 10

var _ Conn = (*polled)(nil)

func (l *Loop) newPolled(c handlers.Conn, a handlers.Attachment) Conn {
	if !canDetach(c) || l.poller.start(l) != nil {
		return nil
	}
	start := &opening{Conn: c, info: a.Info, unread: a.Unread}
	return &polled{loop: l, place: start, codec: a.Codec, shake: a.Handshake, fd: -1, slot: -1}
}

// Start is [Conn.Start].
func (c *polled) Start(ev Events) (run func()) {
	c.ev, c.lent = ev, true
	if c.loop.poller.admit(c) {
		c.hear(c.now())
		return c.open
	}
	c.mu.Lock()
	c.broken, c.over = true, true
	c.mu.Unlock()
	c.dead.Store(true)
	c.place.Close()
	c.loop.tasks.Go(func() { ev.Disconnect(handlers.ErrShutdown) }) // a callback must not run in the accepting goroutine
	return nil
}

// attach makes a descriptor of the connection.
func (c *polled) attach() bool {
	c.mu.Lock()
	ok := c.attachLocked()
	c.mu.Unlock()
	if !ok {
		c.leave(nil)
	}
	return ok
}

// attachLocked is attach without its end, which is the owner's. In the first turn it may be called by a writer too.
func (c *polled) attachLocked() bool {
	switch {
	case c.fd >= 0:
		return true
	case c.broken:
		return false
	}
	start := c.opening()
	d, err := detach(start.Conn)
	if err != nil {
		c.breakLocked(err)
		return false
	}
	c.fd, c.link = int32(d.fd), d.link
	info := start.Conn.Info()
	c.marks = info.Peer != nil || !info.Remote.IsValid() // a Unix socket, on which descriptors may be passed
	start.Conn, start.place = nil, d.place
	start.unread = append(d.unread, start.unread...)
	return true
}

// watch tells epoll of a connection that is still there after its first turn: a short one never gets so far.
func (c *polled) watch() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.watched {
		c.watchLocked()
	}
}

// watchLocked has epoll tell of what comes and, once there was none, of room to write; also of what it has told already.
func (c *polled) watchLocked() {
	if c.over || c.fd < 0 {
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

func (c *polled) now() uint64 { return c.loop.poller.now() }
