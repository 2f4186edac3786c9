package handlers

import (
	"io"
	"net"
	"sync/atomic"
	"time"

	"github.com/portluck/portluck/handlers/internal/grace"
)

// A Switch is a net.Conn that forwards to another one, which can be replaced. A layer that cannot
// be moved to another connection, such as a *tls.Conn, is built on a Switch, so that the loop can
// take over the connection below. Any goroutine may call its methods. A call that is running stays
// with the connection that it began with. A Read or Write whose deadline passes while the process
// does not run gets one more second.
type Switch struct {
	current   atomic.Pointer[net.Conn]
	eof       atomic.Bool
	received  atomic.Int64
	deadlines grace.Deadlines
}

// NewSwitch returns a Switch that forwards to nc.
func NewSwitch(nc net.Conn) *Switch {
	s := new(Switch)
	s.Set(nc)
	return s
}

// Current returns the connection that s forwards to.
func (s *Switch) Current() net.Conn { return *s.current.Load() }

// Set makes s forward to nc. It does not close the previous connection.
func (s *Switch) Set(nc net.Conn) { s.current.Store(&nc) }

// EOF reports whether a Read of s has returned [io.EOF]. If a *tls.Conn on s returns io.EOF and s
// has not, the peer has sent a close_notify. Otherwise anybody on the path may have cut the stream
// (RFC 8446, section 6.1).
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

// LocalAddr returns the local address of the current connection.
func (s *Switch) LocalAddr() net.Addr { return s.Current().LocalAddr() }

// RemoteAddr returns the remote address of the current connection.
func (s *Switch) RemoteAddr() net.Addr { return s.Current().RemoteAddr() }

// SetDeadline sets the deadlines of the current connection.
func (s *Switch) SetDeadline(t time.Time) error { return s.deadlines.Set(s.Current(), t) }

// SetReadDeadline sets the read deadline of the current connection.
func (s *Switch) SetReadDeadline(t time.Time) error {
	return s.deadlines.SetRead(s.Current(), t)
}

// SetWriteDeadline sets the write deadline of the current connection.
func (s *Switch) SetWriteDeadline(t time.Time) error {
	return s.deadlines.SetWrite(s.Current(), t)
}
