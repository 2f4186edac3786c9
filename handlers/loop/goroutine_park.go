package loop

import "github.com/portluck/portluck/handlers"

// StartParked is [Conn.StartParked].
func (c *goConn) StartParked(ev Events, p Parking) {
	c.parking = p
	if run := c.Start(ev); run != nil {
		go run() // ends with the connection, or when it is parked; Loop.Shutdown waits for it
	}
}

// Adopt is [Conn.Adopt].
func (c *goConn) Adopt(codec handlers.Codec) {
	c.mu.Lock()
	c.parked = false
	c.codec = codec
	c.mu.Unlock()
	go c.resume() // ends with the connection; Loop.Shutdown waits for it
}

// Retire is [Conn.Retire].
func (c *goConn) Retire() bool {
	c.mu.Lock()
	silent := c.rw == nil && len(c.out) == 0 && !c.ended && !c.broken
	c.parked = false
	c.breakLocked(nil)
	c.mu.Unlock()
	c.dead.Store(true)
	go func() { // ends when the callback returns; Loop.Shutdown waits for it
		defer c.loop.remove(c)
		c.ev.Disconnect(c.reason())
	}()
	return silent
}

// Expire is [Conn.Expire].
func (c *goConn) Expire(err error) {
	c.mu.Lock()
	c.parked = false
	c.breakLocked(err)
	c.mu.Unlock()
	go c.resume() // ends when the callback has returned; Loop.Shutdown waits for it
}

// park parks the connection. It returns false if the connection cannot be parked because it has
// been used or is ending.
func (c *goConn) park() bool {
	c.mu.Lock()
	c.parked = len(c.out) == 0 && !c.ended && !c.broken && !c.flushing && c.rw == nil && c.haltBy.IsZero()
	parked := c.parked
	c.entering = parked
	c.mu.Unlock()
	if !parked {
		return false
	}
	c.parking.Park()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.entering = false
	if c.wanted {
		c.loop.tasks.Go(c.take)
	}
	return true
}

// unparkLocked takes a parked connection back and drives it again.
func (c *goConn) unparkLocked() {
	if !c.parked {
		return
	}
	c.parked = false
	if c.wanted = c.entering; !c.wanted {
		c.loop.tasks.Go(c.take)
	}
}

// take drives the connection, unless the Parking is about to adopt, retire or expire it.
func (c *goConn) take() {
	if c.parking.Take() {
		c.resume()
	}
}

func (c *goConn) resume() { c.run(true) }
