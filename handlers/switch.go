package handlers

import (
	"io"
	"net"
	"sync/atomic"
	"time"

	"github.com/portluck/portluck/handlers/internal/grace"
)

// A Switch is a net.Conn that stands for another one, which can be exchanged. A layer that cannot
// be moved, such as a *tls.Conn, is built on one, so that the loop can take the connection below it
// over. Its methods may be called by any goroutine; one that is running stays with the connection
// that it began with. A Read or Write whose deadline passes while the process stands still goes on
// for a second more.
type Switch struct {
	current   atomic.Pointer[net.Conn]
	eof       atomic.Bool
	received  atomic.Int64
	deadlines grace.Deadlines
}

// NewSwitch returns a Switch that stands for nc.
func NewSwitch(nc net.Conn) *Switch {
	s := new(Switch)
	s.Set(nc)
	return s
}

// Current is the connection that s stands for.
func (s *Switch) Current() net.Conn { return *s.current.Load() }

// Set makes s stand for nc. The one before is left as it is.
func (s *Switch) Set(nc net.Conn) { s.current.Store(&nc) }

// EOF reports whether a Read has returned [io.EOF]. When a *tls.Conn on s returns it and s has not,
// the peer has sent a close_notify; otherwise anybody on the way may have cut the stream (RFC 8446,
// section 6.1).
func (s *Switch) EOF() bool { return s.eof.Load() }

// The methods of net.Conn.

// Read reads from the current connection.
func (s *Switch) Read(p []byte) (n int, err error) {
	if n, err = s.deadlines.Read(s.Current(), p); n == 0 && err == io.EOF {
		s.eof.Store(true)
	}
	s.received.Add(int64(n))
	return n, err
}

// Received returns how many bytes have been read through s.
func (s *Switch) Received() int64 { return s.received.Load() }

// Write writes to the current connection.
func (s *Switch) Write(p []byte) (int, error) {
	return s.deadlines.Write(s.Current(), p)
}

// Close closes the current connection.
func (s *Switch) Close() error { return s.Current().Close() }

// LocalAddr is the current connection's.
func (s *Switch) LocalAddr() net.Addr { return s.Current().LocalAddr() }

// RemoteAddr is the current connection's.
func (s *Switch) RemoteAddr() net.Addr { return s.Current().RemoteAddr() }

// SetDeadline is the current connection's.
func (s *Switch) SetDeadline(t time.Time) error { return s.deadlines.Set(s.Current(), t) }

// SetReadDeadline is the current connection's.
func (s *Switch) SetReadDeadline(t time.Time) error {
	return s.deadlines.SetRead(s.Current(), t)
}

// SetWriteDeadline is the current connection's.
func (s *Switch) SetWriteDeadline(t time.Time) error {
	return s.deadlines.SetWrite(s.Current(), t)
}
