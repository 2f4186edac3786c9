package callosum

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/portluck/portluck/handlers"
)

// readAheadSize bounds the bytes that are read ahead of the application.
const readAheadSize = 64 << 10

// readAheadConn reads a connection ahead of the application, so that it notices the end while the
// application does not read. It is for connections whose end the system does not report: TLS,
// pipes, and all connections on systems other than Linux.
type readAheadConn struct {
	net.Conn
	unread time.Duration // that bytes may wait once there is no more room; no bound if 0

	mu       sync.Mutex
	changed  sync.Cond
	buf      []byte
	err      error // of reading, after buf
	deadline time.Time
	alarm    *time.Timer // of deadline
	closed   bool
	done     chan struct{} // closed when the goroutine has ended
}

// readAhead starts to read nc, and calls ended when it has ended.
func readAhead(nc net.Conn, unread time.Duration, ended func()) *readAheadConn {
	a := &readAheadConn{Conn: nc, unread: unread, done: make(chan struct{})}
	a.changed.L = &a.mu
	go func() { // ends with the connection
		defer close(a.done)
		a.run()
		ended()
	}()
	return a
}

// run reads until the connection ends.
func (a *readAheadConn) run() {
	chunk := make([]byte, 512)
	for a.room() {
		n, err := a.Conn.Read(chunk)
		a.mu.Lock()
		a.buf = append(a.buf, chunk[:n]...)
		a.err = err
		a.changed.Broadcast()
		a.mu.Unlock()
		if err != nil {
			return
		}
		if n == len(chunk) && n < maxChunk {
			chunk = make([]byte, 2*n)
		}
	}
}

// maxChunk is the most that is read at a time. An idle connection has a much smaller buffer.
const maxChunk = 8 << 10

// room waits until there is room for more. It is false when the application has not made any for
// too long, or has closed.
func (a *readAheadConn) room() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.buf) < readAheadSize {
		return true
	}
	late := false
	if a.unread > 0 {
		t := time.AfterFunc(a.unread, func() {
			a.mu.Lock()
			defer a.mu.Unlock()
			late = true
			a.changed.Broadcast()
		})
		defer t.Stop()
	}
	for len(a.buf) >= readAheadSize && !a.closed {
		if late {
			a.err = errUnread
			a.Conn.Close()
			return false
		}
		a.changed.Wait()
	}
	return !a.closed
}

var errUnread = errors.New("the application has left too much unread for too long")

// Read returns what was read ahead, and waits for it until the deadline.
func (a *readAheadConn) Read(p []byte) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for {
		switch {
		case a.closed:
			return 0, net.ErrClosed
		case !a.deadline.IsZero() && !time.Now().Before(a.deadline):
			return 0, os.ErrDeadlineExceeded
		case len(p) == 0:
			return 0, nil
		case len(a.buf) > 0:
			n := copy(p, a.buf)
			if a.buf = a.buf[n:]; len(a.buf) == 0 {
				a.buf = nil
			}
			a.changed.Broadcast()
			return n, nil
		case errors.Is(a.err, io.ErrClosedPipe):
			return 0, io.EOF // net.Pipe's word for it
		case a.err != nil:
			return 0, a.err
		}
		a.changed.Wait()
	}
}

// SetReadDeadline is for Read: the connection itself is read without one.
func (a *readAheadConn) SetReadDeadline(t time.Time) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.alarm != nil {
		a.alarm.Stop()
	}
	a.deadline = t
	a.changed.Broadcast()
	if d := time.Until(t); !t.IsZero() && d > 0 && !a.closed {
		a.alarm = time.AfterFunc(d, func() {
			a.mu.Lock()
			defer a.mu.Unlock()
			a.changed.Broadcast()
		})
	}
	return nil
}

// SetDeadline sets both.
func (a *readAheadConn) SetDeadline(t time.Time) error {
	if err := a.SetReadDeadline(t); err != nil {
		return err
	}
	return a.Conn.SetWriteDeadline(t)
}

// Close ends a read that waits.
func (a *readAheadConn) Close() error {
	a.mu.Lock()
	a.closed = true
	if a.alarm != nil {
		a.alarm.Stop()
	}
	a.changed.Broadcast()
	a.mu.Unlock()
	return a.Conn.Close()
}

// CloseWrite sends FIN where the connection can.
func (a *readAheadConn) CloseWrite() error { return handlers.CloseWrite(a.Conn) }
