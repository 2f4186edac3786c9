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

// readAheadSize bounds the bytes that a readAheadConn keeps for the application.
const readAheadSize = 64 << 10

// readAheadConn reads a connection ahead of the application, so that it notices the end even while
// the application does not read. It is for connections whose end the system does not report: TLS,
// pipes, and all connections on systems other than Linux.
type readAheadConn struct {
	net.Conn
	// unread is how long bytes may wait while buf is full; no bound if 0.
	unread time.Duration

	mu       sync.Mutex
	changed  sync.Cond
	buf      []byte
	err      error // the error of the last read, after buf
	deadline time.Time
	alarm    *time.Timer // wakes readers at the deadline
	closed   bool
	done     chan struct{} // closed when the goroutine has ended
}

// readAhead starts to read nc. It calls ended when nc has ended.
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

// maxChunk is the largest size of one read. The buffer starts much smaller and grows as bytes come.
const maxChunk = 8 << 10

// room waits until buf has room. It returns false if the connection was closed, or if the
// application has not read anything for too long.
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

// Read returns bytes that were read ahead. It waits for them until the deadline.
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
			return 0, io.EOF // what net.Pipe returns instead
		case a.err != nil:
			return 0, a.err
		}
		a.changed.Wait()
	}
}

// SetReadDeadline sets the deadline of Read. The reads from the connection itself have none.
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

// SetDeadline sets the deadlines of Read and Write.
func (a *readAheadConn) SetDeadline(t time.Time) error {
	if err := a.SetReadDeadline(t); err != nil {
		return err
	}
	return a.Conn.SetWriteDeadline(t)
}

// Close closes the connection and ends a Read that waits.
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
