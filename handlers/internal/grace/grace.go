// Package grace has deadlines that are judged only after the kernel was asked: what has come while
// the process stood still, stopped or with its machine, was not late.
//
// Package net returns os.ErrDeadlineExceeded without a look at the socket when a deadline has
// passed. Here a deadline that has passed is extended by a [Moment], once, if there is something
// to be read, or if it is seen so late that the process must have stood still.
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

// Moment is by how much a deadline is extended.
const Moment = time.Second

// slack is how late a deadline may be seen by a process that has run all the time.
const slack = 100 * time.Millisecond

// A Deadline is a time, in nanoseconds since 1970: zero for none, negative for one that is not
// extended, or not again.
type Deadline int64

// Set makes d t, and reports whether it was t before and was extended: it stays so. One that has
// passed when it is set only wakes somebody up: it is not extended.
func (d *Deadline) Set(t time.Time) (stays bool) {
	switch at := Deadline(t.UnixNano()); {
	case t.IsZero():
		*d = 0
	case *d == -at:
		return true
	case !time.Now().Before(t): // it is to wake somebody up
		*d = -at
	default:
		*d = at
	}
	return false
}

// Extend reports whether d, which has passed, is extended by a [Moment]: it was not yet, and the
// process has stood still or unread reports that there is something to be read. unread is called
// only if the answer depends on it.
func (d *Deadline) Extend(unread func() bool) bool {
	if *d <= 0 || time.Since(time.Unix(0, int64(*d))) < slack && !unread() {
		return false
	}
	*d = -*d
	return true
}

// Deadlines are those of one net.Conn at a time. Its methods may be called by any goroutine. The
// zero value has no deadline.
type Deadlines struct {
	mu      sync.Mutex
	in, out Deadline
}

// Set is nc.SetDeadline.
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

// SetRead is nc.SetReadDeadline.
func (d *Deadlines) SetRead(nc net.Conn, t time.Time) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.in.Set(t) {
		return nil
	}
	return nc.SetReadDeadline(t)
}

// SetWrite is nc.SetWriteDeadline.
func (d *Deadlines) SetWrite(nc net.Conn, t time.Time) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.out.Set(t) {
		return nil
	}
	return nc.SetWriteDeadline(t)
}

// Read is nc.Read, which goes on when its deadline is extended.
func (d *Deadlines) Read(nc net.Conn, p []byte) (int, error) {
	for {
		n, err := nc.Read(p)
		if err == nil || n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) || !d.extendRead(nc) {
			return n, err
		}
	}
}

// Write is nc.Write, which goes on when its deadline is extended.
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

// socket is what the connection of a socket has, in package net.
type socket interface {
	net.Conn
	syscall.Conn
	CloseWrite() error
}

// Conn returns nc with deadlines that are extended, or nc itself if it is no socket. What it
// returns has CloseWrite, SyscallConn, ReadFrom and, for nc, NetConn.
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

// ReadFrom copies from src with whatever the socket has for it; its deadline is not extended.
func (c *conn) ReadFrom(src io.Reader) (int64, error) { return io.Copy(c.socket, src) }

func (c *conn) NetConn() net.Conn                  { return c.socket }
func (c *conn) Read(p []byte) (int, error)         { return c.deadlines.Read(c.socket, p) }
func (c *conn) Write(p []byte) (int, error)        { return c.deadlines.Write(c.socket, p) }
func (c *conn) SetDeadline(t time.Time) error      { return c.deadlines.Set(c.socket, t) }
func (c *conn) SetReadDeadline(t time.Time) error  { return c.deadlines.SetRead(c.socket, t) }
func (c *conn) SetWriteDeadline(t time.Time) error { return c.deadlines.SetWrite(c.socket, t) }

// AfterFunc calls f, in a goroutine of its own, when d has passed and was not extended for nc,
// which may be nil. stop reports whether it has kept f from being called.
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

// Context returns a context that ends with parent, or when d has passed and was not extended for
// nc: its error is context.DeadlineExceeded then, and its cause os.ErrDeadlineExceeded.
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
