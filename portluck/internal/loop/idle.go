package loop

import (
	"sync/atomic"
	"time"

	"github.com/portluck/portluck/handlers"
)

// quiet is how long a peer must have been silent for its connection to be ended by a shutdown.
const quiet = 20 * time.Millisecond

// idle keeps the deadlines of a connection. They are set anew only when an eighth of the timeout has passed, which
// spares a timer a message, and when one expires it is found out whether there was something since.
type idle struct {
	readArmed  time.Time // the driving goroutine's
	writeArmed time.Time // the writing goroutine's
	lastRead   time.Time // the driving goroutine's
	lastWrite  atomic.Int64
}

// start counts from now, and makes the next arm set the deadline in any case.
func (i *idle) start() { i.readArmed, i.lastRead = time.Time{}, time.Now() }

// arm sets the read deadline before a Read.
func (i *idle) arm(c *Conn) {
	t := c.loop.Timeout
	if c.handshake {
		t = c.loop.HandshakeTimeout
	}
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case !c.haltBy.IsZero():
		i.set(c, earlier(now.Add(quiet), c.haltBy))
	case !c.closeBy.IsZero():
		i.set(c, c.closeBy)
	case i.readArmed.IsZero() && t <= 0:
		i.readArmed = now
		i.set(c, time.Time{}) // the handshake's is over
	case i.readArmed.IsZero(), t > 0 && !c.handshake && now.Sub(i.readArmed) > t/8:
		i.readArmed = now
		i.set(c, now.Add(t))
	}
}

func (i *idle) set(c *Conn, t time.Time) { _ = c.rw.SetReadDeadline(t) }

// expired says whether a read deadline that has passed ends the connection, and with which error.
func (i *idle) expired(c *Conn) (done bool, err error) {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case !c.haltBy.IsZero():
		return true, handlers.ErrShutdown
	case !c.closeBy.IsZero():
		return !now.Before(c.closeBy), nil
	case c.handshake:
		return true, handlers.ErrTimeout
	}
	last := i.lastRead
	if w := time.Unix(0, i.lastWrite.Load()); w.After(last) {
		last = w
	}
	left := c.loop.Timeout - now.Sub(last)
	if left <= 0 {
		return true, handlers.ErrTimeout
	}
	i.readArmed = now
	i.set(c, now.Add(left))
	return false, nil
}

func (i *idle) wrote() { i.lastWrite.Store(time.Now().UnixNano()) }

// armWrite sets the write deadline before a Write.
func (i *idle) armWrite(rw Transport, t time.Duration) {
	if now := time.Now(); now.Sub(i.writeArmed) > t/8 {
		i.writeArmed = now
		_ = rw.SetWriteDeadline(now.Add(t))
	}
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
