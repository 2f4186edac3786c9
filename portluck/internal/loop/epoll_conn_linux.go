package loop

import (
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/portluck/portluck/handlers"
	"golang.org/x/sys/unix"
)

// polled is a connection of the epoll driver: while it is idle, this struct and a descriptor.
//
// Whoever has set busy owns it: a shard's runner, or a goroutine of its own that takes a turn. Only the owner decodes and
// raises events. Any goroutine may write, under mu.
type polled struct {
	shard *shard
	place io.Closer // what is left of the connection, besides its descriptor; before it is driven, an opening
	ev    Events
	link  *tlsLink // nil in the clear

	// These are the owner's.
	eof   bool // the peer has sent FIN
	hung  bool // epoll has told of a FIN or an error: read on until it is there
	shake bool // the client is not connected yet
	begun bool // a message has begun: x stays
	slow  bool // its last turn took its time: the next one has a goroutine, not a shard
	part  bool // there is a message that is not whole: x stays, and its part is the owner's to read

	// These are the wheel's.
	later, sooner *polled
	bucket        uint16
	timed         bool

	dead   atomic.Bool   // destroyed: no more events but the last
	active atomic.Uint32 // when bytes last came or went, in milliseconds

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
	doWrite                   // there is room in the kernel
	doTimer                   // a deadline may have passed
	doEnd                     // it was destroyed, or is to be looked at for its end
	doHalt                    // the loop is shutting down
	doQuit                    // it is to leave, for x.quit
	doTake                    // its parking is to be asked for it
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
	since uint64 // when the message that is not whole began; 0 if there is none
	held  bool   // it is not read until its peer reads

	why     error     // it leaves
	quit    error     // it is to leave
	cause   error     // it was destroyed
	shakeBy uint64    // by then the handshake is complete
	haltBy  uint64    // the loop is shutting down: by then it ends
	closeBy uint64    // our side has ended: by then it closes
	swallow int       // bytes that were swallowed
	room    sync.Cond // of writers that wait
	waiting int       // how many
	feeds   []Feeder  // that wait for the queue to be empty
}

var extras = sync.Pool{New: func() any { return new(extra) }}

// keepOut is the largest queue whose memory is used again.
const keepOut = 256 << 10

var _ Conn = (*polled)(nil)

func (l *Loop) newPolled(c handlers.Conn, a handlers.Attachment) Conn {
	if !canDetach(c) || l.shards.start(l) != nil {
		return nil
	}
	start := &opening{Conn: c, info: a.Info, unread: a.Unread}
	return &polled{shard: l.shards.pick(), place: start, codec: a.Codec, shake: a.Handshake, fd: -1, slot: -1}
}

// Start is [Conn.Start].
func (c *polled) Start(ev Events) (run func()) {
	c.ev, c.lent = ev, true
	if c.shard.admit(c) {
		c.active.Store(uint32(c.now()))
		return c.open
	}
	c.mu.Lock()
	c.broken, c.over = true, true
	c.mu.Unlock()
	c.dead.Store(true)
	c.place.Close()
	go ev.Disconnect(handlers.ErrShutdown) // a callback must not run in the accepting goroutine
	return nil
}

// open takes the first turn, in the goroutine that has accepted the connection: its first bytes are there.
func (c *polled) open() {
	c.mu.Lock()
	c.lent = false
	c.mu.Unlock()
	c.own(doOpen | doRead)
}

// own takes a turn in this goroutine.
func (c *polled) own(do todo) {
	if c.begin(do) {
		c.goOn()
	}
}

// goOn takes the turn that begin has begun.
func (c *polled) goOn() {
	ss := &c.shard.loop.shards
	r := ss.crew.get(nil)
	r.now = c.now()
	r.begin(c)
	ss.mon.rouse()
	c.turn(r)
	r.end()
	ss.crew.put(r)
}

// post has somebody take a turn: the owner if there is one, else a new goroutine.
func (c *polled) post(do todo) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.postLocked(do)
}

func (c *polled) postLocked(do todo) {
	c.todo |= do
	if !c.busy && !c.over && !c.lent {
		go c.own(do) // ends with the turn; Loop.Wait waits for what it may come to
	}
}

// begin makes the caller the owner. It is false when there is one, which does it then, or nothing to be done.
func (c *polled) begin(do todo) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return false
	}
	c.todo |= do &^ doWrite
	if c.lent {
		return false
	}
	mine := !c.busy
	c.busy = true
	if do&doWrite != 0 {
		c.flushLocked()
	}
	if mine && c.todo == 0 {
		c.busy = false
		c.tidyLocked()
	}
	return mine && c.busy
}

// turn does what there is to do. The caller owns c, and no longer when it returns.
func (c *polled) turn(r *runner) {
	for {
		c.mu.Lock()
		do := c.todo
		if do == 0 || c.over || c.lent {
			c.slow = r.lost()
			c.busy = false
			c.takeLocked()
			c.tidyLocked()
			c.mu.Unlock()
			return
		}
		c.todo = 0
		c.mu.Unlock()
		r.tick()
		if err := c.guard(r, do); err != nil {
			c.leave(err)
			c.watch() // the first turn may not have got so far
		}
	}
}

// guard is step, in which a panic of a codec costs this connection only.
func (c *polled) guard(r *runner, do todo) (err error) {
	defer func() {
		if v := recover(); v != nil {
			r.m.Reply, r.m.Next = r.m.Reply[:0], nil // they are not for the runner's next connection
			c.endTurn(nil)
			err = fmt.Errorf("%w: %v", handlers.ErrPanic, v)
		}
	}()
	c.step(r, do)
	return nil
}

func (c *polled) step(r *runner, do todo) {
	if do&doHangup != 0 {
		c.hung = true
	}
	if do&doOpen != 0 && !c.announce(r) {
		c.watch() // it may have to end
		return
	}
	if do&(doOpen|doDrive) != 0 && !c.drive(r) {
		return
	}
	if do&doRead != 0 {
		c.read(r)
	}
	if do&(doOpen|doDrive) != 0 {
		c.watch()
	}
	if do&doHalt != 0 {
		c.halted(r)
	}
	if do&doQuit != 0 {
		c.quitted()
	}
	if do&(doTimer|doOpen|doDrive) != 0 {
		c.timer()
	}
	if do&doEnd != 0 || c.dead.Load() {
		c.settle()
	}
}

// announce opens a connection, tells its client if that needs no handshake, and parks it if it is to be parked. It is
// false when there is nothing to drive.
func (c *polled) announce(r *runner) bool {
	if c.shake {
		return true
	}
	start := c.opening()
	if (start.parking == nil || c.dead.Load()) && !c.attach() {
		return false
	}
	c.cork(r)
	err := c.ev.Connect(start.info)
	c.endTurn(nil)
	if err != nil {
		if c.attach() {
			c.leave(err)
		}
		return false
	}
	return start.parking == nil || !c.park()
}

// drive takes the connection over as a descriptor, and decodes what was read of it before.
func (c *polled) drive(r *runner) bool {
	if !c.attach() {
		return false
	}
	start := c.opening()
	unread := start.unread
	c.place = start.place
	c.flush()
	if len(unread) > 0 {
		c.carry(r, unread)
	}
	return true
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
	if err := c.shard.watch(c, op, events); err != nil {
		c.breakLocked(err)
		c.postLocked(doEnd)
	}
}

// cork has what is written wait for the end of the turn, unless that has taken its time already: nobody would uncork it.
func (c *polled) cork(r *runner) {
	c.mu.Lock()
	c.turning = !r.lost()
	c.mu.Unlock()
}

// uncork sends what a callback that takes its time has written, and what it goes on to write.
func (c *polled) uncork() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.turning {
		c.turning = false
		c.flushLocked()
	}
}

// endTurn writes what the turn has produced.
func (c *polled) endTurn(m *handlers.Messages) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.turning = false
	if m != nil && len(m.Reply) > 0 {
		c.replyLocked(m)
	}
	c.flushLocked()
}

// leave ends the connection for reason, in good order if it is nil: it tells the peer, and closes once that has gone out.
func (c *polled) leave(reason error) {
	c.mu.Lock()
	c.leaveLocked(reason)
	c.mu.Unlock()
	c.settle()
}

// leaveLocked is leave without the first step, which is the caller's to take.
func (c *polled) leaveLocked(reason error) {
	if c.leaving || c.over {
		return
	}
	c.leaving = true
	c.needLocked().why = reason
	c.dropPartLocked()
	if !c.ended && !c.broken {
		c.endLocked(reason)
	}
	c.shut = c.shut || c.eof && c.link == nil // closing is as good a FIN, but no close_notify
	c.flushLocked()
}

// settle brings a connection that leaves a step nearer to its end: what is queued is written, our FIN sent, and that of
// the peer awaited, for a moment. Closing with unread bytes would reset the connection, and the peer would lose our last
// words (RFC 9112, section 9.6).
func (c *polled) settle() {
	c.mu.Lock()
	if c.over {
		c.mu.Unlock()
		return
	}
	switch {
	case c.broken || c.fd < 0:
		c.finishLocked()
		return
	case !c.leaving:
	case c.queuedLocked() > 0:
		c.byLocked(closeWait)
	case c.eof || c.x.why == handlers.ErrTimeout:
		c.finishLocked()
		return
	case !c.lingers:
		c.lingers = true
		c.x.closeBy = 0
		c.byLocked(lingerTime)
		c.todo |= doRead
	}
	c.mu.Unlock()
}

// byLocked bounds what is left to do by d from now on, unless it has a bound.
func (c *polled) byLocked(d time.Duration) {
	if c.x.closeBy == 0 {
		c.x.closeBy = c.now() + uint64(d/time.Millisecond)
		c.shard.schedule(c, c.x.closeBy)
	}
}

// finishLocked closes the connection and tells its client. It unlocks mu.
func (c *polled) finishLocked() {
	c.over, c.broken = true, true
	err := error(nil)
	if x := c.x; x != nil {
		if err = x.why; x.quit != nil {
			err = x.quit
		}
		if x.cause != nil || c.dead.Load() {
			err = x.cause
		}
	}
	c.shard.dismiss(c)
	if c.fd >= 0 {
		_ = unix.Close(int(c.fd))
	}
	c.fd = -1
	c.wakeLocked()
	c.drainedLocked()
	c.dropPartLocked() // a writer that still waits keeps the rest
	c.dropLocked()
	c.mu.Unlock()
	c.place.Close()
	c.ev.Disconnect(err)
	c.shard.left()
}

func (c *polled) now() uint64 { return c.shard.loop.shards.now() }
