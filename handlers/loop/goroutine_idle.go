package loop

import (
	"sync/atomic"
	"time"

	"github.com/portluck/portluck/handlers"
)

// idle keeps the deadlines of a connection. They are set anew only when an eighth of the timeout
// has passed, which spares a timer a message, and when one expires it is found out whether there
// was something since.
type idle struct {
	armed     atomic.Int64 // when both deadlines were set
	armedLate atomic.Int64 // when that of writing was, or would have been for all of the timeout
	lastRead  time.Time    // the driving goroutine's
	lastWrite atomic.Int64
	asked     bool      // the peer was pinged, and has sent nothing since
	begun     time.Time // when the message that is not whole began; the driving goroutine's, like lastRead
	bounded   bool      // the read deadline is not later than that message's
	bent      bool      // the read deadline was set to wake the events
	look      bool      // a shutdown reads once more: there is something to be read
	looked    bool      // it has done so although its time is up
	spared    time.Time // begun of the message that was late, and has until moment
	moment    time.Time
}

// start counts from now, and makes the next arm, or write, set the deadlines in any case.
func (i *idle) start() {
	i.armed.Store(0)
	i.armedLate.Store(0)
	i.hear()
}

// hear notes that the peer has sent something.
func (i *idle) hear() { i.lastRead, i.asked = time.Now(), false }

// message notes whether there is the beginning of a message. What was delivered last is whole: it
// is another's.
func (i *idle) message(begun, told bool) {
	switch {
	case !begun:
		i.begun = time.Time{}
	case told || i.begun.IsZero():
		i.begun, i.bounded = time.Now(), false
	}
}

// boundMessage has the read deadline pass when the message at hand has taken too long.
func (i *idle) boundMessage(c *goConn) {
	if t := c.loop.MessageTimeout; t > 0 && !c.handshake && !i.begun.IsZero() && !i.bounded {
		i.bounded = true
		by := i.begun.Add(t)
		if i.spared.Equal(i.begun) {
			by = i.moment
		}
		if idle := c.loop.Timeout; idle > 0 {
			by = earlier(by, time.Unix(0, i.armed.Load()).Add(idle))
		}
		if lost := i.lostBy(c); !lost.IsZero() {
			by = earlier(by, lost)
		}
		_ = c.rw.SetReadDeadline(by)
	}
}

// arm sets the read deadline before a Read.
func (i *idle) arm(c *goConn) {
	t := i.patience(c)
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case !c.haltBy.IsZero() && i.look:
		i.look = false
		_ = c.rw.SetReadDeadline(now.Add(lingerTime))
	case !c.haltBy.IsZero():
		_ = c.rw.SetReadDeadline(earlier(now.Add(quiet), c.haltBy))
	case !c.closeBy.IsZero():
		_ = c.rw.SetReadDeadline(c.closeBy)
	case c.called: // since it was looked at
		_ = c.rw.SetReadDeadline(now)
	case i.bent:
		i.bent = false
		if t > 0 {
			t = max(t-now.Sub(i.last()), 1)
		}
		i.set(c, now, t)
		i.boundMessage(c)
	case i.armed.Load() == 0, t > 0 && !c.handshake && i.age(now) > t/8:
		i.set(c, now, t)
		fallthrough
	default:
		i.boundMessage(c)
	}
}

// patience is how long the peer may say nothing; no bound if not positive.
func (i *idle) patience(c *goConn) time.Duration {
	if c.handshake {
		return c.loop.HandshakeTimeout
	}
	return c.loop.Timeout
}

// set sets both deadlines: one timer.
func (i *idle) set(c *goConn, now time.Time, t time.Duration) {
	i.armed.Store(now.UnixNano())
	i.armedLate.Store(now.Add(min(t-i.patience(c), 0)).UnixNano())
	i.bounded = false
	by := time.Time{}
	if t > 0 {
		by = now.Add(t)
	}
	_ = c.rw.SetDeadline(by)
	if lost := i.lostBy(c); !lost.IsZero() && (t <= 0 || lost.Before(by)) {
		_ = c.rw.SetReadDeadline(lost)
	}
}

// lostBy is when a silent peer is to be pinged or, if it was, is lost; zero for never.
func (i *idle) lostBy(c *goConn) time.Time {
	interval := c.loop.PingInterval
	if _, ok := c.codec.(handlers.Pinger); !ok || interval <= 0 || c.handshake || c.ended || c.broken || c.half {
		return time.Time{}
	}
	if i.asked {
		return i.last().Add(interval)
	}
	return i.lastRead.Add(interval + time.Duration(i.lastRead.Nanosecond())%(interval/8+1))
}

// ping pings a peer that has been silent for the interval. It reports whether one that was pinged
// is lost.
func (i *idle) ping(c *goConn, now time.Time) (lost bool) {
	by := i.lostBy(c)
	switch {
	case by.IsZero() || now.Before(by):
		return false
	case i.asked:
		return true
	}
	i.asked = true
	i.wrote() // what is queued gets its time
	if p, ok := c.codec.(handlers.Pinger); ok {
		c.out = p.AppendPing(c.out)
		c.startFlushLocked()
	}
	return false
}

func (i *idle) age(now time.Time) time.Duration { return now.Sub(time.Unix(0, i.armed.Load())) }

// expired reports whether a read deadline that has passed ends the connection, and with which
// error.
func (i *idle) expired(c *goConn) (done bool, err error) {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case !c.haltBy.IsZero():
		i.look = !i.looked && c.unreadLocked()
		i.looked = !now.Before(c.haltBy)
		return !i.look, handlers.ErrShutdown
	case !c.closeBy.IsZero():
		return !now.Before(c.closeBy), nil
	case c.called:
		return false, nil
	case c.unreadLocked() && i.spares(c, now): // the process stood still: nobody is judged by what was not read
		i.set(c, now, i.patience(c)) // the answer has time too
		i.bounded = true             // by this, whatever the message's time is
		_ = c.rw.SetReadDeadline(now.Add(readFirst))
		return false, nil
	case c.handshake:
		return true, handlers.ErrTimeout
	case i.isLate(c, now):
		return true, handlers.ErrTimeout
	case i.ping(c, now):
		return true, handlers.ErrTimeout
	case c.loop.Timeout <= 0: // that of a message that has become whole
		i.set(c, now, 0)
		return false, nil
	}
	left := c.loop.Timeout - now.Sub(i.last())
	if left <= 0 {
		return true, c.overdueLocked()
	}
	i.set(c, now, left)
	return false, nil
}

// isLate reports whether the message at hand has taken too long.
func (i *idle) isLate(c *goConn, now time.Time) bool {
	return c.loop.MessageTimeout > 0 && !i.begun.IsZero() && now.Sub(i.begun) >= c.loop.MessageTimeout
}

// spares reports whether a peer of which there is something to be read has a moment more. A
// handshake, or a message, that is late has one: its peer may go on sending.
func (i *idle) spares(c *goConn, now time.Time) bool {
	late := i.begun
	switch {
	case c.handshake:
		late = time.Unix(0, 0)
	case !i.isLate(c, now):
		return true
	}
	if i.spared.Equal(late) {
		return false
	}
	i.spared, i.moment = late, now.Add(readFirst)
	return true
}

// overdueLocked is why a connection ends on which no byte has come or gone for too long.
func (c *goConn) overdueLocked() error {
	if c.flushing || len(c.out) > 0 {
		return handlers.ErrSlow
	}
	return handlers.ErrTimeout
}

// readFirst is how long a connection has at least when its time is up and there is something to be
// read.
const readFirst = time.Second

// last is when bytes last came or went.
func (i *idle) last() time.Time {
	if w := time.Unix(0, i.lastWrite.Load()); w.After(i.lastRead) {
		return w
	}
	return i.lastRead
}

func (i *idle) wrote() { i.lastWrite.Store(time.Now().UnixNano()) }

// beforeWrite leaves a Write at least half of the timeout.
func (i *idle) beforeWrite(c *goConn) {
	t := c.loop.Timeout
	now := time.Now()
	if t > 0 && now.Sub(time.Unix(0, i.armedLate.Load())) > t/2 {
		i.armedLate.Store(now.UnixNano())
		_ = c.rw.SetWriteDeadline(now.Add(t))
	}
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
