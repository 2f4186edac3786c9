package loop

import (
	"github.com/portluck/portluck/handlers"
)

// open takes the first turn in the goroutine that accepted the connection. The first bytes are
// available.
func (c *epollConn) open() { c.own(doOpen | doRead) }

// own takes a turn in this goroutine.
func (c *epollConn) own(do todo) {
	if c.begin(do) {
		c.goOn()
	}
}

// ownSingle is own, and single is goOn, in a goroutine that the poller waits for.
func (c *epollConn) ownSingle(do todo) {
	defer c.loop.poller.ends.Done()
	c.own(do)
}

func (c *epollConn) single() {
	defer c.loop.poller.ends.Done()
	c.goOn()
}

// goOn takes the turn for which begin has made the caller the owner.
func (c *epollConn) goOn() {
	makeRoom()
	p := &c.loop.poller
	r := p.pool.get(false)
	r.now = c.now()
	r.begun()
	r.begin(c)
	p.mon.rouse()
	c.turn(r)
	r.end()
	p.pool.put(r)
}

// stackNeed is roughly the stack that a turn needs.
const stackNeed = 4 << 10

// makeRoom makes the stack of a new goroutine grow at once, while there is little to copy.
//
//go:noinline
func makeRoom() { fill(&[stackNeed]byte{}) }

//go:noinline
func fill(*[stackNeed]byte) {}

// post assigns do to the owner or, if there is none, to a new goroutine.
func (c *epollConn) post(do todo) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.postLocked(do)
}

func (c *epollConn) postLocked(do todo) {
	c.todo |= do
	if !c.busy && lifeStarting < c.life && c.life < lifeOver {
		c.loop.poller.ends.Add()
		go c.ownSingle(do) // ends with the turn; Loop.Wait waits for it
	}
}

// begin makes the caller the owner. It returns false if there is another owner, which then does the
// work, or if there is nothing to do.
func (c *epollConn) begin(do todo) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.life == lifeOver {
		return false
	}
	c.todo |= do &^ doWrite
	if c.life == lifeStarting {
		if do&doOpen == 0 {
			return false
		}
		c.life = lifeOpening // not before the turn has its owner
	}
	mine := !c.busy
	c.busy = true
	if do&doWrite != 0 {
		c.flushLocked()
	}
	if !mine && do&doTimer != 0 {
		c.overdueLocked()
	}
	if mine && c.todo == 0 {
		c.busy = false
		c.tidyLocked()
	}
	return mine && c.busy
}

// turn does what is to be done. The caller owns c until turn returns.
func (c *epollConn) turn(r *runner) {
	for {
		c.mu.Lock()
		do := c.todo
		if do == 0 || c.life == lifeOver {
			c.setSlow(r.stuck())
			c.busy = false
			c.tidyLocked()
			c.mu.Unlock()
			return
		}
		c.todo = 0
		c.mu.Unlock()
		r.tick()
		if err := c.guard(r, do); err != nil {
			c.leave(err)
			c.watch() // the first turn may not have called it
		}
	}
}

// guard calls step. A panic of a codec ends only this connection, and so does a callback that ends
// its goroutine: new goroutines then replace this one.
func (c *epollConn) guard(r *runner, do todo) error {
	err := handlers.GuardExit(func() { c.step(r, do) }, func(err error) {
		r.clean()
		p := &c.loop.poller
		served := r.serves && r.end() // if not, it was replaced already
		p.pool.put(r)
		if served {
			p.startRunner()
		}
		p.ends.Add()
		go c.exited(err) // ends with the turn; Loop.Wait waits for it
	})
	if err != nil {
		r.clean()
		c.endTurn(nil)
		c.loop.panicked(c.ev, err)
	}
	return err
}

// exited continues a turn whose goroutine has ended.
func (c *epollConn) exited(err error) {
	defer c.loop.poller.ends.Done()
	c.endTurn(nil)
	c.loop.panicked(c.ev, err)
	c.leave(err)
	c.watch()
	c.goOn()
}

func (c *epollConn) step(r *runner, do todo) {
	if do&doHangup != 0 {
		c.hung = true
	}
	if do&doMark != 0 {
		c.marks = true
	}
	if do&doOpen != 0 && !c.announce(r) {
		c.watch() // it may have to end
		return
	}
	if do&doOpen != 0 && !c.drive(r) {
		return
	}
	if do&doResume != 0 && !c.resumed(r) {
		return
	}
	late := uint64(0)
	if do&doTimer != 0 {
		late = c.lateAt()
	}
	if late != 0 {
		c.flush()
	}
	if r.got = false; do&doRead != 0 || late != 0 {
		c.read(r)
	}
	if late != 0 && r.got && c.hasMoment() {
		do &^= doTimer
	}
	if do&doOpen != 0 {
		c.watch()
	}
	if do&doHalt != 0 {
		c.halted(r)
	}
	if do&doQuit != 0 {
		c.quitted()
	}
	if do&(doTimer|doOpen) != 0 {
		c.checkDeadline(late)
	}
	if do&(doTimer|doOpen|doWake) != 0 && c.wakes(r) {
		return
	}
	if do&doEnd != 0 || c.isDestroyed() {
		c.settle()
	}
}

// announce opens a connection and announces its client, unless that needs a handshake. It returns
// false if there is nothing to drive.
func (c *epollConn) announce(r *runner) bool {
	switch {
	case c.opening().handshake:
		return true
	case !c.attach():
		return false
	}
	c.cork(r)
	err := c.ev.Connect(c.opening().info)
	c.endTurn(nil)
	if err != nil {
		c.leave(err)
	}
	return err == nil
}

// drive takes over the connection's descriptor and decodes the bytes that were read before.
func (c *epollConn) drive(r *runner) bool {
	if !c.attach() {
		return false
	}
	start := c.opening()
	unread := start.unread
	c.mu.Lock()
	if c.life = lifeOpen; start.handshake {
		c.life = lifeHandshaking
	}
	c.place = start.place
	c.flushLocked()
	c.mu.Unlock()
	if len(unread) > 0 {
		c.carry(r, unread)
	}
	return true
}

// cork delays writes until the end of the turn, unless the turn is slow already: then nothing would
// uncork it early.
func (c *epollConn) cork(r *runner) {
	c.mu.Lock()
	c.turning = !r.stuck()
	c.mu.Unlock()
}

// uncork writes what a slow callback has queued and stops delaying its writes.
func (c *epollConn) uncork() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.turning {
		c.turning = false
		c.flushLocked()
	}
}

// endTurn writes the replies and the queue at the end of a turn.
func (c *epollConn) endTurn(m *handlers.Messages) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.turning = false
	if m != nil && len(m.Reply) > 0 {
		c.replyLocked(m)
	}
	c.flushLocked()
}
