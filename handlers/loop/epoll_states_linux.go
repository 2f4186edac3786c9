package loop

// life is how far a connection has come. It never goes back. Its owner changes it.
type life uint8

const (
	lifeStarting    life = iota // its first turn has not begun: it has no owner
	lifeOpening                 // place is an opening
	lifeHandshaking             // it is driven, but its client is not connected yet
	lifeOpen
	lifeHalfOpen  // the peer has sent FIN; the program may still write
	lifeLeaving   // it ends once the queue is written
	lifeLingering // its input is discarded until the peer's FIN
	lifeOver      // its descriptor is closed, or another owns it
)

// The flags of a connection.
const (
	flagDestroyed uint32 = 1 << iota // no more events but the last
	flagSlow                         // its last turn was slow: run the next in its own goroutine
)

// isDestroyed reports whether no more events but the last may be raised.
func (c *epollConn) isDestroyed() bool { return c.flags.Load()&flagDestroyed != 0 }

// isSlow reports whether the connection's last turn was slow.
func (c *epollConn) isSlow() bool { return c.flags.Load()&flagSlow != 0 }

// setSlow records whether the turn that ends now was slow.
func (c *epollConn) setSlow(on bool) {
	switch {
	case on:
		c.flags.Or(flagSlow)
	case c.isSlow():
		c.flags.And(^flagSlow)
	}
}

// sending is the state of a connection's own direction. It never goes back. Any goroutine changes
// it, under mu.
type sending uint8

const (
	sendingOpen     sending = iota
	sendingFarewell         // the farewell is queued: nothing may follow it
	sendingFIN              // the queue is written and our FIN, or the close_notify of TLS, follows
	sendingBroken           // nothing can be written any more
)
