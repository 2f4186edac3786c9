package loop

import (
	"sync/atomic"
	"time"

	"github.com/portluck/portluck/handlers"
)

// idle keeps the deadlines of a connection. It sets them again only after an eighth of the timeout
// has passed, so that not every message costs a timer. When a deadline expires, it checks whether
// bytes came or went since.
type idle struct {
	armed     atomic.Int64 // when both deadlines were set
	armedLate atomic.Int64 // the write deadline, less a full timeout
	lastRead  time.Time    // of the driving goroutine
	lastWrite atomic.Int64
	asked     bool      // the peer was pinged and has sent nothing since
	begun     time.Time // when the incomplete message began; of the driving goroutine
	bounded   bool      // the read deadline is no later than the message's
	bent      bool      // the read deadline was moved to wake the events
	look      bool      // a shutdown reads once more: the kernel holds unread bytes
	looked    bool      // it has read once more after haltBy
	spared    time.Time // begun of the late message whose time was extended to moment
	moment    time.Time
}

// start restarts the idle time. The next arm or write sets the deadlines again in any case.
func (i *idle) start() {
	i.armed.Store(0)
	i.armedLate.Store(0)
	i.hear()
}

// hear notes that the peer has sent something.
func (i *idle) hear() { i.lastRead, i.asked = time.Now(), false }

// message notes whether an incomplete message has begun. If told, this Decode has delivered a
// message, so the incomplete one is another that begins now.
func (i *idle) message(begun, told bool) {
	switch {
	case !begun:
		i.begun = time.Time{}
	case told || i.begun.IsZero():
		i.begun, i.bounded = time.Now(), false
	}
}

// boundMessage sets the read deadline to the time when the incomplete message has taken too long.
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
	case c.called: // called again since rest looked
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

// patience returns how long the peer may send nothing. Zero or negative means no bound.
func (i *idle) patience(c *goConn) time.Duration {
	if c.handshake {
		return c.loop.HandshakeTimeout
	}
	return c.loop.Timeout
}

// set sets both deadlines, with one timer. If t is zero or negative, there are none.
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

// lostBy returns when a silent peer must be pinged or, if it was pinged already, counts as lost.
// The zero time means never.
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

// ping pings a peer that has been silent for the interval. It reports whether a peer that was
// pinged before is lost.
func (i *idle) ping(c *goConn, now time.Time) (lost bool) {
	by := i.lostBy(c)
	switch {
	case by.IsZero() || now.Before(by):
		return false
	case i.asked:
		return true
	}
	i.asked = true
	i.wrote() // the queue gets the whole timeout again
	if p, ok := c.codec.(handlers.Pinger); ok {
		c.out = p.AppendPing(c.out)
		c.startFlushLocked()
	}
	return false
}

func (i *idle) age(now time.Time) time.Duration { return now.Sub(time.Unix(0, i.armed.Load())) }

// expired is called after a read deadline has passed. It reports whether that ends the connection,
// and with which error.
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
	case c.unreadLocked() && i.spares(c, now): // the process stood still: the peer was not late
		i.set(c, now, i.patience(c)) // the answer gets time too
		i.bounded = true             // by the next line, whatever the message's deadline is
		_ = c.rw.SetReadDeadline(now.Add(readFirst))
		return false, nil
	case c.handshake:
		return true, handlers.ErrTimeout
	case i.isLate(c, now):
		return true, handlers.ErrTimeout
	case i.ping(c, now):
		return true, handlers.ErrTimeout
	case c.loop.Timeout <= 0: // the deadline of a message that is complete now
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

// spares reports whether a peer gets more time because the kernel holds bytes from it that were not
// read. A handshake or message that is late gets readFirst, once: its peer could go on sending
// forever.
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

// overdueLocked returns the error of a connection that has been idle for too long.
func (c *goConn) overdueLocked() error {
	if c.flushing || len(c.out) > 0 {
		return handlers.ErrSlow
	}
	return handlers.ErrTimeout
}

// readFirst is the least time that a connection gets to read what the kernel holds when its
// deadline has passed.
const readFirst = time.Second

// last returns when bytes last came or went.
func (i *idle) last() time.Time {
	if w := time.Unix(0, i.lastWrite.Load()); w.After(i.lastRead) {
		return w
	}
	return i.lastRead
}

func (i *idle) wrote() { i.lastWrite.Store(time.Now().UnixNano()) }

// beforeWrite gives a Write at least half of the timeout.
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
