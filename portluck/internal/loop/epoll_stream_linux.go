package loop

import (
	"net/http"
	"time"

	"github.com/portluck/portluck/handlers"
	"golang.org/x/sys/unix"
)

// Write is [handlers.Stream.Write].
func (c *polled) Write(p []byte, k handlers.Kind) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.roomLocked(true); err != nil {
		return 0, err
	}
	x := c.needLocked()
	x.out = c.codec.AppendWrite(x.out, p, k)
	c.kickLocked()
	return len(p), nil
}

// Send is [handlers.Stream.Send].
func (c *polled) Send(p []byte, k handlers.Kind) error { return c.send(p, k, true) }

// TrySend is [handlers.Stream.TrySend].
func (c *polled) TrySend(p []byte, k handlers.Kind) error { return c.send(p, k, false) }

func (c *polled) send(p []byte, k handlers.Kind, wait bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.roomLocked(wait); err != nil {
		return err
	}
	x := c.needLocked()
	x.out = c.codec.AppendMessage(x.out, p, k)
	c.kickLocked()
	return nil
}

// Queued is [Conn.Queued].
func (c *polled) Queued() (n int, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.queuedLocked(), !c.broken
}

// Drain is [Conn.Drain].
func (c *polled) Drain(f Feeder) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.broken || c.queuedLocked() == 0 {
		return false
	}
	x := c.needLocked()
	x.feeds = append(x.feeds, f)
	return true
}

// Framing is [Conn.Framing].
func (c *polled) Framing() handlers.Framing {
	c.mu.Lock()
	defer c.mu.Unlock()
	return framingOf(c.codec)
}

// Feed is [Conn.Feed].
func (c *polled) Feed(p []byte, f Fed) (n int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.ended || c.broken:
		return 0, handlers.ErrClosed
	case c.turning || c.fd < 0: // goes with what the turn writes, or with the first that is written
		queued, most := c.queuedLocked(), c.shard.loop.maxQueue()
		if n = len(p); queued+n > most {
			if n = 0; queued == 0 { // somebody has to see to it that the rest gets its turn
				n = f.End(min(len(p), most))
			}
		}
		if n > 0 {
			x := c.needLocked()
			x.out = append(x.out, p[:n]...)
		}
		if n < len(p) {
			x := c.needLocked()
			x.feeds = append(x.feeds, f)
		}
		c.kickLocked()
		return n, nil
	case c.queuedLocked() == 0:
		if n, err = c.writeLocked(p); err != nil && err != unix.EAGAIN {
			c.breakLocked(nil) // what the peer has sent is still read
			c.resumeLocked()
			return 0, handlers.ErrClosed
		}
		if n > 0 {
			c.active.Store(uint32(c.now()))
		}
		if n == len(p) && c.link.queued() == 0 {
			return n, nil
		}
		if end := f.End(n); end > n {
			x := c.needLocked()
			x.out = append(x.out, p[n:end]...)
			n = end
		}
		c.blockedLocked()
	}
	if n < len(p) {
		x := c.needLocked()
		x.feeds = append(x.feeds, f)
	}
	return n, nil
}

// DoneAfterWrite does nothing: a connection is not done with an answer.
func (c *polled) DoneAfterWrite() {}

// Done does nothing.
func (c *polled) Done() error { return nil }

// Header is nil.
func (c *polled) Header() http.Header { return nil }

// WriteHeader does nothing.
func (c *polled) WriteHeader(int) {}

// End is [handlers.Stream.End]. What the peer still sends is delivered; a peer that does not answer a farewell of the
// protocol is closed after closeWait.
func (c *polled) End() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended || c.broken {
		return handlers.ErrClosed
	}
	x := c.needLocked()
	before := len(x.out)
	c.endLocked(nil)
	if len(x.out) > before {
		c.byLocked(closeWait)
	}
	c.kickLocked()
	return nil
}

// Quit is [Conn.Quit].
func (c *polled) Quit(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over || c.leaving || c.broken || c.x != nil && c.x.quit != nil {
		return // what has ended it is bounded
	}
	parked := c.parked
	if !c.ended {
		c.endLocked(err)
	}
	x := c.needLocked()
	if x.quit = err; x.closeBy == 0 || x.closeBy > c.now()+uint64(closeWait/time.Millisecond) {
		x.closeBy = 0
		c.byLocked(closeWait)
	}
	c.kickLocked()
	if c.todo |= doQuit; !parked {
		c.postLocked(doQuit)
	}
}

// quitted is what is left to do after Quit.
func (c *polled) quitted() {
	c.mu.Lock()
	err := error(nil)
	if c.x != nil {
		err = c.x.quit
	}
	c.mu.Unlock()
	c.leave(err)
}

// Destroy is [handlers.Stream.Destroy]. What the kernel takes at once of what was written still goes out.
func (c *polled) Destroy() {
	c.mu.Lock()
	c.flushLocked()
	c.mu.Unlock()
	c.abort(nil)
}

// abort closes the connection at once. The first cause that is not nil is kept.
func (c *polled) abort(cause error) {
	c.dead.Store(true)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return
	}
	c.breakLocked(cause)
	if c.parked {
		c.unparkLocked()
		return
	}
	if c.busy && c.fd >= 0 {
		_ = unix.Shutdown(int(c.fd), unix.SHUT_RDWR) // its owner may be a while
	}
	c.postLocked(doEnd)
}

// halt asks the connection to end: what the peer has sent already is still served.
func (c *polled) halt() {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.over:
	case c.parked:
		c.needLocked().haltBy = c.now()
		c.unparkLocked()
		c.todo |= doHalt
	default:
		if x := c.needLocked(); x.haltBy == 0 {
			x.haltBy = c.now() + uint64(lingerTime/time.Millisecond)
		}
		c.postLocked(doHalt | doRead)
	}
}

// roomLocked waits for room in the queue, or says that there is none.
func (c *polled) roomLocked(wait bool) error {
	for {
		switch {
		case c.ended || c.broken:
			return handlers.ErrClosed
		case c.queuedLocked() < c.shard.loop.maxQueue():
			return nil
		}
		if c.flushLocked(); c.broken || c.queuedLocked() < c.shard.loop.maxQueue() {
			continue
		}
		if !wait {
			return handlers.ErrSlow
		}
		x := c.needLocked()
		x.room.L = &c.mu
		x.waiting++
		x.room.Wait()
		x.waiting--
	}
}

// kickLocked sees to it that what is queued gets written: by the turn's end if one is running.
func (c *polled) kickLocked() {
	switch {
	case c.parked:
		c.unparkLocked()
	case !c.turning || c.queuedLocked() >= flushAt:
		c.flushLocked()
		c.tidyLocked()
	}
}

// flush writes what the kernel takes of the queue.
func (c *polled) flush() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.flushLocked()
}

// flushLocked writes what the kernel takes of the queue, and FIN behind a farewell.
func (c *polled) flushLocked() {
	if c.broken || c.fd < 0 && !c.openLocked() {
		return
	}
	for !c.broken && c.queuedLocked() > 0 {
		x := c.needLocked() // what is queued may all be encrypted already
		n, err := c.writeLocked(x.out[x.at:])
		if n > 0 {
			c.active.Store(uint32(c.now()))
			x.at += n
		}
		switch {
		case err == unix.EAGAIN:
			x.compact()
			c.blockedLocked()
			c.resumeLocked()
			return
		case err != nil:
			c.breakLocked(nil) // what the peer has sent is still read
		}
	}
	if x := c.x; x != nil {
		x.resetOut()
	}
	if c.ended && !c.shut && !c.broken {
		c.shut = true
		c.closeWriteLocked()
	}
	if c.leaving {
		c.postLocked(doEnd)
	}
	c.resumeLocked()
}

// openLocked makes a descriptor of a connection in its first turn, because something is to be written: its callback takes
// its time, or waits for room.
func (c *polled) openLocked() bool {
	return c.busy && !c.lent && c.queuedLocked() > 0 && c.attachLocked()
}

// resumeLocked goes on with what has waited for room.
func (c *polled) resumeLocked() {
	x := c.x
	if x == nil || !c.broken && c.queuedLocked() > c.shard.loop.maxQueue()/2 {
		return
	}
	if x.waiting > 0 {
		x.room.Broadcast()
	}
	if c.broken || c.queuedLocked() == 0 {
		c.drainedLocked()
	}
	if x.held {
		x.held = false
		if x.since != 0 {
			x.since = c.now() // the peer could not go on with its message
		}
		c.postLocked(doRead | doTimer)
	}
}

// drainedLocked tells those that feed the connection to go on.
func (c *polled) drainedLocked() {
	if c.x == nil {
		return
	}
	for _, f := range c.x.feeds {
		go f.Drained() // ends when it has fed what there is
	}
	c.x.feeds = nil
}

// blockedLocked has epoll tell when there is room in the kernel, from the first time on that there was none.
func (c *polled) blockedLocked() {
	if !c.blocked {
		c.blocked = true
		c.watchLocked()
	}
}

// queuedLocked is how many bytes wait to be written.
func (c *polled) queuedLocked() int {
	n := c.link.queued()
	if c.x != nil {
		n += len(c.x.out) - c.x.at
	}
	return n
}

// writeLocked writes without waiting. The error is EAGAIN when the kernel takes no more.
func (c *polled) writeLocked(p []byte) (int, error) {
	if c.link != nil {
		return c.link.write(int(c.fd), p)
	}
	return writeFD(int(c.fd), p)
}

func writeFD(fd int, p []byte) (int, error) {
	for {
		n, err := unix.Write(fd, p)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return 0, err
		case n < len(p):
			return n, unix.EAGAIN // it would say so
		default:
			return n, nil
		}
	}
}

// closeWriteLocked sends FIN.
func (c *polled) closeWriteLocked() {
	if c.link != nil && !c.link.closeWrite(int(c.fd)) {
		c.blockedLocked()
		return
	}
	if c.link == nil {
		_ = unix.Shutdown(int(c.fd), unix.SHUT_WR)
	}
}

func (c *polled) breakLocked(cause error) {
	if x := c.needLocked(); x.cause == nil {
		x.cause = cause
	}
	c.broken = true
	c.x.out, c.x.at = nil, 0
	c.link.drop()
	c.wakeLocked()
	c.drainedLocked()
}

// wakeLocked wakes those that wait for room: there will be none.
func (c *polled) wakeLocked() {
	if c.x == nil {
		return
	}
	if c.x.waiting > 0 {
		c.x.room.Broadcast()
	}
}

func (c *polled) endLocked(reason error) {
	c.ended = true
	x := c.needLocked()
	x.out = farewell(c.codec, x.out, reason)
	c.wakeLocked()
}

func (c *polled) replyLocked(m *handlers.Messages) {
	if !c.broken && !c.shut {
		x := c.needLocked()
		x.out = append(x.out, m.Reply...)
	}
	if m.Reply = m.Reply[:0]; cap(m.Reply) > keepOut {
		m.Reply = nil
	}
}

// needLocked is the connection's extra, from now on.
func (c *polled) needLocked() *extra {
	if c.x == nil {
		c.x = extras.Get().(*extra)
	}
	return c.x
}

// tidyLocked gives the extra back if there is nothing in it.
func (c *polled) tidyLocked() {
	x := c.x
	if x == nil || c.turning || x.at < len(x.out) || len(x.part) > 0 || x.waiting > 0 || len(x.feeds) > 0 ||
		x.held || c.leaving || c.broken ||
		x.shakeBy|x.haltBy|x.closeBy|x.since != 0 {
		return
	}
	c.dropLocked()
}

// dropLocked gives the extra back.
func (c *polled) dropLocked() {
	x := c.x
	if x == nil || x.waiting > 0 {
		return
	}
	x.resetOut()
	*x = extra{out: x.out}
	extras.Put(x)
	c.x = nil
}

// resetOut empties the queue.
func (x *extra) resetOut() {
	if x.at = 0; cap(x.out) > keepOut {
		x.out = nil
	}
	x.out = x.out[:0]
}

// compact forgets what was sent of a queue that is never empty.
func (x *extra) compact() {
	if x.at >= len(x.out)-x.at {
		x.out = x.out[:copy(x.out, x.out[x.at:])]
		x.at = 0
	}
}

// Adopt is [Conn.Adopt].
func (c *polled) Adopt(codec handlers.Codec) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.parked, c.lent = false, false
	c.codec = codec
	c.postLocked(doDrive | doRead)
}

// StartParked is [Conn.StartParked].
func (c *polled) StartParked(ev Events, p Parking) {
	c.opening().parking = p
	if run := c.Start(ev); run != nil {
		go run() // ends when it is parked, or with its first turn; Loop.Wait waits for it
	}
}

// Retire is [Conn.Retire].
func (c *polled) Retire() bool {
	c.mu.Lock()
	c.lent = false
	silent := c.fd < 0 && c.queuedLocked() == 0 && !c.ended && !c.broken
	var cause error
	if c.x != nil {
		cause = c.x.cause
	}
	c.parked, c.broken, c.over = false, true, true
	c.shard.dismiss(c)
	c.wakeLocked()
	c.mu.Unlock()
	c.dead.Store(true)
	go func() { // ends when the callback returns; Loop.Wait waits for it
		c.ev.Disconnect(cause)
		c.shard.left()
	}()
	return silent
}

// Expire is [Conn.Expire].
func (c *polled) Expire(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.parked, c.lent = false, false
	c.breakLocked(err)
	c.postLocked(doEnd)
}

// park parks the connection, unless there is something to do for it.
func (c *polled) park() bool {
	c.mu.Lock()
	c.parked = c.fd < 0 && c.queuedLocked() == 0 && !c.ended && !c.broken && (c.x == nil || c.x.haltBy == 0)
	c.lent = c.parked
	parked := c.parked
	c.mu.Unlock()
	if parked {
		c.opening().parking.Park()
	}
	return parked
}

// unparkLocked drives a parked connection again.
func (c *polled) unparkLocked() {
	c.parked = false
	if c.todo |= doTake; !c.busy {
		c.takeLocked()
	} // else it is only about to be parked
}

// takeLocked asks the parking for the connection, if that is to be done.
func (c *polled) takeLocked() {
	if c.todo&doTake == 0 {
		return
	}
	c.todo &^= doTake
	if !c.lent || c.over {
		return // it has answered already
	}
	p := c.opening().parking
	go func() { // ends at once; somebody else may be about to drive it
		if !p.Take() {
			return
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.lent = false
		if c.broken {
			c.postLocked(doEnd)
			return
		}
		c.postLocked(doDrive | doRead)
	}()
}
