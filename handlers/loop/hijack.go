package loop

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/portluck/portluck/handlers"
)

// hijacked is a connection that has left the loop. Its Read first returns the bytes that the loop
// has read but not decoded.
type hijacked struct {
	net.Conn
	place  io.Closer // frees the connection's slot; closed with the connection
	unread []byte
	closed atomic.Bool

	mu    sync.Mutex
	ended bool        // end was called
	onEnd func()      // set by OnEnd
	late  *time.Timer // calls end; nil before halt
}

// OnEnd sets f to be called once: when the loop closes the connection while it is in use, or
// lingerTime after the loop began to shut down. By then the owner must give up what has not become
// a client. If that time has passed, OnEnd calls f at once.
func (d *hijacked) OnEnd(f func()) {
	d.mu.Lock()
	ended := d.ended
	d.onEnd = f
	d.mu.Unlock()
	if ended {
		f()
	}
}

func (d *hijacked) end() {
	d.mu.Lock()
	f := d.onEnd
	if d.ended {
		f = nil
	}
	d.ended = true
	d.mu.Unlock()
	if f != nil {
		f()
	}
}

// Read is [net.Conn.Read]. It returns the undecoded bytes first.
func (d *hijacked) Read(p []byte) (int, error) {
	if len(d.unread) == 0 {
		return d.Conn.Read(p)
	}
	n := copy(p, d.unread)
	if d.unread = d.unread[n:]; len(d.unread) == 0 {
		d.unread = nil
	}
	return n, nil
}

// NetConn returns the underlying connection, which lacks the undecoded bytes.
func (d *hijacked) NetConn() net.Conn { return d.Conn }

// CloseWrite closes the sending side if the connection supports that, and does nothing otherwise.
func (d *hijacked) CloseWrite() error {
	if err := handlers.CloseWrite(d.Conn); !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	return nil
}

// Detach is [handlers.Detacher.Detach].
func (d *hijacked) Detach() (place io.Closer, err error) {
	if d.place == nil || d.closed.Swap(true) {
		return nil, net.ErrClosed
	}
	return d.place, nil
}

// Close closes the connection and frees its slot.
func (d *hijacked) Close() error {
	err := d.Conn.Close()
	if d.place != nil && !d.closed.Swap(true) {
		d.place.Close()
	}
	return err
}

// halt gives the owner lingerTime to finish, and then calls end. The shutdown waits for the owner.
func (d *hijacked) halt() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.late == nil {
		d.late = time.AfterFunc(lingerTime, d.end)
	}
}

// settle marks that the owner has finished: end no longer calls the function set by OnEnd.
func (d *hijacked) settle() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ended = true
	if d.late != nil {
		d.late.Stop()
	}
}

// abort closes the connection while its owner still uses it.
func (d *hijacked) abort(error) {
	_ = d.Conn.Close()
	d.end()
}

// events is [ender.events].
func (*hijacked) events() Events { return nil }

// serveHijacked writes queued, calls take with the connection, and returns when take has returned.
// If take panics, only this connection is lost.
func (l *Loop) serveHijacked(d *hijacked, queued []byte, take func(net.Conn)) {
	if l.track(d) {
		defer l.untrack(d)
	} else {
		d.Close() // take learns this from Read
	}
	if len(queued) > 0 {
		_ = d.SetWriteDeadline(time.Now().Add(closeWait))
		if _, err := d.Write(queued); err != nil {
			d.Close() // take learns this from Read
		}
	}
	_ = d.SetDeadline(time.Time{})
	l.hand(d, take)
}

// LogPanic is [Conn.LogPanic].
func (c *goConn) LogPanic(err error) { c.loop.panicked(c.ev, err) }

// panicked logs err with ev or Panicked if err is a panic. ev is nil if the client has ended.
func (l *Loop) panicked(ev Events, err error) {
	if !errors.Is(err, handlers.ErrPanic) {
		return
	}
	if logger, ok := ev.(PanicLogger); ok {
		_ = handlers.Guard(func() { logger.LogPanic(err) })
		return
	}
	if l.Panicked != nil {
		_ = handlers.Guard(func() { l.Panicked(err) })
	}
}

// hand calls take with d, or with nil if the connection has ended, in which case d is nil. If take
// panics, only this connection is lost.
func (l *Loop) hand(d *hijacked, take func(net.Conn)) {
	err := handlers.GuardExit(func() {
		if d == nil {
			take(nil)
			return
		}
		take(d)
	}, func(err error) {
		if d != nil {
			d.Close()
		}
		l.panicked(nil, err)
	})
	if err != nil && d != nil {
		d.Close()
	}
	l.panicked(nil, err)
}

// gone returns a closed connection, in place of one that was lost.
func gone() net.Conn {
	c, _ := net.Pipe()
	c.Close()
	return c
}

// track registers d so that Close finds it. It returns false if the loop is closed.
func (l *Loop) track(d *hijacked) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	if l.hijacks == nil {
		l.hijacks = map[*hijacked]struct{}{}
	}
	l.hijacks[d] = struct{}{}
	return true
}

func (l *Loop) untrack(d *hijacked) {
	l.mu.Lock()
	delete(l.hijacks, d)
	l.mu.Unlock()
	d.settle()
}
