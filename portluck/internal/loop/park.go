package loop

import "github.com/portluck/portluck/handlers"

// Parking is where a connection waits that has not shown its protocol, but whose client is announced. While it is parked
// the loop does not read it and spends no goroutine on it.
type Parking interface {
	// Park takes the connection. From then on it may be adopted, retired or expired at any moment.
	Park()
	// Take gives the connection back. It is false when the parking is about to adopt, retire or expire it.
	Take() bool
}

// StartParked announces the client and then parks the connection, unless the program has written by then. A parked
// connection that is written to, ended, destroyed or halted is taken back and driven with the codec that it has.
func (c *Conn) StartParked(ev Events, p Parking) {
	c.parking = p
	if run := c.Start(ev); run != nil {
		go run() // ends with the connection, or when it is parked; Loop.Shutdown waits for it
	}
}

// Adopt drives a parked connection with codec: it has turned out to be of the kind that it was announced as.
func (c *Conn) Adopt(codec handlers.Codec) {
	c.mu.Lock()
	c.parked = false
	c.codec = codec
	c.mu.Unlock()
	go c.resume() // ends with the connection; Loop.Shutdown waits for it
}

// Retire ends the client of a parked connection, which goes on as something else. It is false when the connection must
// be closed instead, because the client has been sent something.
func (c *Conn) Retire() bool {
	c.mu.Lock()
	silent := c.rw == nil && len(c.out) == 0 && !c.ended && !c.broken
	c.parked = false
	c.breakLocked(nil)
	c.mu.Unlock()
	c.dead.Store(true)
	go func() { // ends when the callback returns; Loop.Shutdown waits for it
		defer c.loop.remove(c)
		c.ev.Disconnect(c.reason(nil))
	}()
	return silent
}

// Expire closes a parked connection for err.
func (c *Conn) Expire(err error) {
	c.mu.Lock()
	c.parked = false
	c.breakLocked(err)
	c.mu.Unlock()
	go c.resume() // ends when the callback has returned; Loop.Shutdown waits for it
}

// park parks the connection, unless there is something to do for it.
func (c *Conn) park() bool {
	c.mu.Lock()
	c.parked = len(c.out) == 0 && !c.ended && !c.broken && !c.flushing && c.rw == nil && c.haltBy.IsZero()
	parked := c.parked
	c.mu.Unlock()
	if parked {
		c.parking.Park()
	}
	return parked
}

// unparkLocked drives a parked connection again.
func (c *Conn) unparkLocked() {
	if !c.parked {
		return
	}
	c.parked = false
	go func() { // ends with the connection, or at once if somebody else is about to drive it
		if c.parking.Take() {
			c.resume()
		}
	}()
}

func (c *Conn) resume() { c.run(true) }
