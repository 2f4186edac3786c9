package loop

import (
	"github.com/portluck/portluck/handlers"
)

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
		go run() // ends when parked or after the first turn; Loop.Wait waits for it
	}
}

// Retire is [Conn.Retire].
func (c *polled) Retire() bool {
	c.mu.Lock()
	c.lent = false
	silent := c.fd < 0 && c.queuedLocked() == 0 && c.sending == sendingOpen
	var cause error
	if c.x != nil {
		cause = c.x.reason.err
	}
	c.parked, c.sending, c.life = false, sendingBroken, lifeOver
	c.loop.poller.dismiss(c)
	c.wakeLocked()
	c.drainedLocked()
	c.mu.Unlock()
	c.flags.Or(flagDestroyed)
	go func() { // ends when the callback returns; Loop.Wait waits for it
		defer c.loop.poller.left()
		c.ev.Disconnect(cause)
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

// park parks the connection unless its owner has work to do.
func (c *polled) park() bool {
	c.mu.Lock()
	c.parked = c.fd < 0 && c.queuedLocked() == 0 && c.sending == sendingOpen && (c.x == nil || c.x.haltBy == 0)
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

// takeLocked asks the parking for the connection if doTake is set.
func (c *polled) takeLocked() {
	if c.todo&doTake == 0 {
		return
	}
	c.todo &^= doTake
	if !c.lent || c.life == lifeOver {
		return // its parking has released it already
	}
	p := c.opening().parking
	go func() { // ends at once; another goroutine may drive c
		if !p.Take() {
			return
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.lent = false
		if c.sending == sendingBroken {
			c.postLocked(doEnd)
			return
		}
		c.postLocked(doDrive | doRead)
	}()
}
