package loop

import "github.com/portluck/portluck/handlers"

// end ends the connection for err, or lets it leave the loop.
func (c *goConn) end(err error) {
	gone := false // another goroutine goes on
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

// leave tells that the connection has ended.
func (c *goConn) leave() {
	err := c.reason()
	c.abort(nil)
	c.stopTimers()
	c.loop.panicked(c.ev, err)
	c.ev.Disconnect(err)
}

// hijack takes the connection out of the loop and gives it to taker, when what was queued is
// written. It is false when it was ended meanwhile.
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

// reason is what the client's disconnect is told.
func (c *goConn) reason() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ends.err
}
