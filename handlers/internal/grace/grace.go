// Package grace implements deadlines that ask the kernel before they expire. Data that arrived
// while the process was stopped, or its machine was suspended, was not late.
//
// When a deadline has passed, package net returns os.ErrDeadlineExceeded without looking at the
// socket. This package instead extends the deadline once, by a [Moment], if there is something to
// read, or if the process notices it so late that it must have been stopped.
package grace

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// Moment is the length of an extension.
const Moment = time.Second

// slack is how late a process that was never stopped may notice a deadline.
const slack = 100 * time.Millisecond

// A Deadline is a time in nanoseconds since 1970. Zero means no deadline; a negative value is a
// deadline that cannot be extended, or not again.
type Deadline int64

// Set sets d to t. It reports whether d was already t and extended, in which case the extension
// stays. A t that has passed serves to wake a waiting call: it cannot be extended.
func (d *Deadline) Set(t time.Time) (stays bool) {
	switch at := Deadline(t.UnixNano()); {
	case t.IsZero():
		*d = 0
	case *d == -at:
		return true
	case !time.Now().Before(t): // wakes a waiting call
		*d = -at
	default:
		*d = at
	}
	return false
}

// Extend extends d, which has passed, by a [Moment] and reports whether it could. It cannot extend
// a deadline twice. It extends one only if the process was stopped or unread reports that there is
// something to read. It calls unread only if the answer matters.
func (d *Deadline) Extend(unread func() bool) bool {
	if *d <= 0 || time.Since(time.Unix(0, int64(*d))) < slack && !unread() {
		return false
	}
	*d = -*d
	return true
}

// Deadlines holds the deadlines of one net.Conn. Any goroutine may call its methods. The zero value
// has no deadlines.
type Deadlines struct {
	mu      sync.Mutex
	in, out Deadline
}

// Set is like nc.SetDeadline.
func (d *Deadlines) Set(nc net.Conn, t time.Time) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	in, out := d.in.Set(t), d.out.Set(t)
	switch {
	case in && out:
		return nil
	case in:
		return nc.SetWriteDeadline(t)
	case out:
		return nc.SetReadDeadline(t)
	}
	return nc.SetDeadline(t)
}

// SetRead is like nc.SetReadDeadline.
func (d *Deadlines) SetRead(nc net.Conn, t time.Time) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.in.Set(t) {
		return nil
	}
	return nc.SetReadDeadline(t)
}

// SetWrite is like nc.SetWriteDeadline.
func (d *Deadlines) SetWrite(nc net.Conn, t time.Time) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.out.Set(t) {
		return nil
	}
	return nc.SetWriteDeadline(t)
}

// Read is like nc.Read, but continues if its deadline is extended.
func (d *Deadlines) Read(nc net.Conn, p []byte) (int, error) {
	for {
		n, err := nc.Read(p)
		if err == nil || n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) || !d.extendRead(nc) {
			return n, err
		}
	}
}

// Write is like nc.Write, but continues if its deadline is extended.
func (d *Deadlines) Write(nc net.Conn, p []byte) (sent int, err error) {
	for {
		n, err := nc.Write(p[sent:])
		sent += n
		if err == nil || !errors.Is(err, os.ErrDeadlineExceeded) || !d.extendWrite(nc) {
			return sent, err
		}
	}
}

func (d *Deadlines) extendRead(nc net.Conn) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.in.Extend(func() bool { return HasUnread(nc) }) && nc.SetReadDeadline(time.Now().Add(Moment)) == nil
}

func (d *Deadlines) extendWrite(nc net.Conn) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.out.Extend(func() bool { return false }) && nc.SetWriteDeadline(time.Now().Add(Moment)) == nil
}

// socket is implemented by the socket connections of package net.
type socket interface {
	net.Conn
	syscall.Conn
	CloseWrite() error
}

// Conn wraps nc so that its deadlines can be extended. It returns nc itself if nc is not a socket.
// The wrapper also has CloseWrite, SyscallConn, ReadFrom and NetConn, which returns nc.
func Conn(nc net.Conn) net.Conn {
	s, ok := nc.(socket)
	if _, done := nc.(*conn); done || !ok {
		return nc
	}
	return &conn{socket: s}
}

type conn struct {
	socket
	deadlines Deadlines
}

// ReadFrom copies from src with the socket's own ReadFrom, if it has one. It does not extend the
// deadline.
func (c *conn) ReadFrom(src io.Reader) (int64, error) { return io.Copy(c.socket, src) }

func (c *conn) NetConn() net.Conn                  { return c.socket }
func (c *conn) Read(p []byte) (int, error)         { return c.deadlines.Read(c.socket, p) }
func (c *conn) Write(p []byte) (int, error)        { return c.deadlines.Write(c.socket, p) }
func (c *conn) SetDeadline(t time.Time) error      { return c.deadlines.Set(c.socket, t) }
func (c *conn) SetReadDeadline(t time.Time) error  { return c.deadlines.SetRead(c.socket, t) }
func (c *conn) SetWriteDeadline(t time.Time) error { return c.deadlines.SetWrite(c.socket, t) }

// AfterFunc calls f in its own goroutine once d has passed and is not extended for nc, which may be
// nil. stop reports whether it prevented the call of f.
func AfterFunc(nc net.Conn, d time.Duration, f func()) (stop func() bool) {
	var mu sync.Mutex
	var by Deadline
	var t *time.Timer
	over := false
	mu.Lock()
	defer mu.Unlock()
	by.Set(time.Now().Add(d))
	t = time.AfterFunc(d, func() {
		mu.Lock()
		if !over && by.Extend(func() bool { return HasUnread(nc) }) {
			t.Reset(Moment)
			mu.Unlock()
			return
		}
		call := !over
		over = true
		mu.Unlock()
		if call {
			f()
		}
	})
	return func() bool {
		mu.Lock()
		defer mu.Unlock()
		was := over
		over = true
		t.Stop()
		return !was
	}
}

// Context returns a context that ends with parent, or once d has passed and is not extended for nc.
// In the second case its error is context.DeadlineExceeded and its cause os.ErrDeadlineExceeded.
func Context(parent context.Context, nc net.Conn, d time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(parent)
	by := time.Now().Add(d)
	stop := AfterFunc(nc, d, func() { cancel(os.ErrDeadlineExceeded) })
	return bounded{ctx, by}, func() {
		stop()
		cancel(nil)
	}
}

type bounded struct {
	context.Context
	by time.Time
}

// Deadline is [context.Context.Deadline].
func (b bounded) Deadline() (time.Time, bool) {
	if by, ok := b.Context.Deadline(); ok && by.Before(b.by) {
		return by, true
	}
	return b.by, true
}

// Err is [context.Context.Err].
func (b bounded) Err() error {
	err := b.Context.Err()
	if err != nil && context.Cause(b.Context) == os.ErrDeadlineExceeded {
		return context.DeadlineExceeded
	}
	return err
}
