package loop

import "github.com/portluck/portluck/handlers"

// end ends the connection with err. If err is nil and a taker is set, the connection leaves the
// loop instead.
func (c *goConn) end(err error) {
	gone := false // another goroutine finishes
	defer func() {
		if !gone {
			c.loop.remove(c)
		}
	}()
	if err == nil && c.taker != nil {
		if c.hijack() {
			return
		}
		c.loop.hand(nil, c.taker)
	}
	_ = handlers.GuardExit(func() {
		c.goodbye(err)
		c.closeSource()
	}, func(error) { // the program's connection has ended this goroutine
		gone = true
		go func() { // ends with OnDisconnect; Loop.Wait waits for it
			defer c.loop.remove(c)
			defer c.leave()
			c.closeSource()
		}()
	})
	c.leave()
}

// leave raises Disconnect.
func (c *goConn) leave() {
	err := c.reason()
	c.abort(nil)
	c.stopTimers()
	c.loop.panicked(c.ev, err)
	c.ev.Disconnect(err)
}

// hijack waits until the queue is written, then takes the connection out of the loop and calls
// taker with it. It returns false if the connection ended in the meantime.
func (c *goConn) hijack() bool {
	c.mu.Lock()
	for c.flushing || len(c.out) > 0 && !c.broken {
		c.cond.Wait()
	}
	if c.broken || c.ended {
		c.mu.Unlock()
		return false
	}
	c.broken = true
	c.cond.Broadcast()
	c.drainedLocked()
	c.mu.Unlock()
	c.stopTimers()
	c.ev.Disconnect(nil)
	nc, err := c.src.NetConn()
	if err != nil {
		nc = gone()
	}
	c.loop.serveHijacked(&hijacked{Conn: nc, place: c.src, unread: c.unread}, nil, c.taker)
	return true
}

// reason returns the error for Disconnect.
func (c *goConn) reason() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ends.err
}
