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

// hijacked is a connection that has left the loop: a net.Conn that first gives what was read of it
// and not decoded.
type hijacked struct {
	net.Conn
	place  io.Closer // closed with it
	unread []byte
	closed atomic.Bool

	mu    sync.Mutex
	ended bool        // end was called
	onEnd func()      // of OnEnd
	late  *time.Timer // calls end; nil before halt
}

// OnEnd has f called, once, when the loop closes the connection under whoever has it, and
// lingerTime after it has begun to shut down: what has not become a client by then is given up.
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

// Read is net.Conn's.
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

// NetConn is the connection itself. What was not decoded is gone from it.
func (d *hijacked) NetConn() net.Conn { return d.Conn }

// CloseWrite sends FIN where the connection can.
func (d *hijacked) CloseWrite() error {
	if c, ok := d.Conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return nil
}

// Detach is [handlers.Detacher.Detach].
func (d *hijacked) Detach() io.Closer {
	if d.place == nil || d.closed.Swap(true) {
		return io.NopCloser(nil)
	}
	return d.place
}

// Close also gives the connection's place back.
func (d *hijacked) Close() error {
	err := d.Conn.Close()
	if d.place != nil && !d.closed.Swap(true) {
		d.place.Close()
	}
	return err
}

// halt lets whoever has the connection finish: a shutdown waits for that.
func (d *hijacked) halt() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.late == nil {
		d.late = time.AfterFunc(lingerTime, d.end)
	}
}

// settle is after whoever has the connection is done with it.
func (d *hijacked) settle() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ended = true
	if d.late != nil {
		d.late.Stop()
	}
}

// abort closes it under whoever has it.
func (d *hijacked) abort(error) {
	_ = d.Conn.Close()
	d.end()
}

// serveHijacked writes what was queued, gives the connection to whoever takes it, and returns when
// that has. A panic there costs the connection only.
func (l *Loop) serveHijacked(d *hijacked, queued []byte, take func(net.Conn)) {
	if l.track(d) {
		defer l.untrack(d)
	} else {
		d.Close() // whose Read tells
	}
	if len(queued) > 0 {
		_ = d.SetWriteDeadline(time.Now().Add(closeWait))
		if _, err := d.Write(queued); err != nil {
			d.Close() // whose Read tells
		}
	}
	_ = d.SetDeadline(time.Time{})
	l.hand(d, take)
}

// LogPanic is [Conn.LogPanic].
func (c *goConn) LogPanic(err error) { c.loop.panicked(c.ev, err) }

// panicked tells ev or Panicked, if err is a panic. ev is nil when its client has ended.
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

// hand gives d to whoever takes it; nil if the connection has ended. A panic there costs the
// connection only.
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

// gone is a connection that was lost.
func gone() net.Conn {
	c, _ := net.Pipe()
	c.Close()
	return c
}

// track has Close find d. It is false when the loop was closed.
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
