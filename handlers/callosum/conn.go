package callosum

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/portluck/portluck/handlers"
)

// A Conn is a connection with a slot, which the server has assigned. Its stream does not include
// the slot line or the [Preface]. Any goroutine may call its methods.
type Conn struct {
	net.Conn // the connection that watch returned

	slot int
	info *handlers.Info

	plain   atomic.Bool // lead is empty and no preface can come any more
	reading sync.Mutex  // guards lead and preface while not plain
	lead    []byte      // Read returns it first
	preface bool        // a preface may still come

	heard atomic.Bool   // the peer has sent something
	spoke chan struct{} // closed with heard; nil at the client
	// Until holdTo writes wait, unless heard. They do not wait if it is zero.
	holdTo time.Time

	mu      sync.Mutex
	state   slotState
	ended   bool          // the peer has sent its last byte
	gone    chan struct{} // closed with ended or closed
	closed  bool
	stopped bool                        // the server is shutting down
	served  chan struct{}               // closed when the slot may be freed
	late    *time.Timer                 // closes the connection when OnConnection is late
	handler *Handler                    // nil at the client
	owner   any                         // the port or server that the handler serves
	wg      sync.WaitGroup              // callbacks about the connection
	cancel  context.CancelCauseFunc     // cancels its context
	onClose func()                      // at the client, called by Close for its pool
	fail    func(*handlers.Info, error) // reports errors

	onceServed sync.Once
}

// slotState is the state of a connection's slot.
type slotState uint8

const (
	slotNone slotState = iota // not assigned yet
	slotHeld
	slotFreed
)

// Slot returns the connection's slot.
func (c *Conn) Slot() int { return c.slot }

// Info describes the peer. It returns nil at the client. The caller must not change the Info.
func (c *Conn) Info() *handlers.Info { return c.info }

// Read reads the application's bytes. While the server is shutting down, Read returns
// [handlers.ErrShutdown] once there is nothing more to read.
func (c *Conn) Read(p []byte) (int, error) {
	if c.plain.Load() {
		return c.read(p)
	}
	if len(p) == 0 {
		return 0, nil
	}
	c.reading.Lock()
	defer c.reading.Unlock()
	for {
		if !c.preface && len(c.lead) > 0 {
			n := copy(p, c.lead)
			c.lead = c.lead[n:]
			return n, nil
		}
		if !c.preface {
			c.lead = nil
			c.plain.Store(true)
			return c.read(p)
		}
		n, err := c.readPreface(p)
		if n > 0 || err != nil {
			return n, err
		}
	}
}

// readPreface reads bytes that may be the preface. If they are not, it returns them, or leaves them
// in lead if some of them were read before.
func (c *Conn) readPreface(p []byte) (int, error) {
	if len(c.lead) > 0 {
		p = make([]byte, len(Preface)-len(c.lead))
	}
	n, err := c.read(p)
	got := append(c.lead[:len(c.lead):len(c.lead)], p[:n]...)
	first := got[:min(len(got), len(Preface))]
	switch {
	case string(first) == Preface:
		c.preface, c.lead = false, got[len(Preface):]
		return 0, nil
	case errors.Is(err, io.EOF) && len(got) > 0:
		c.preface, c.lead = false, got
		return 0, nil // the next Read returns the end
	case err != nil && n == 0:
		return 0, err
	case string(first) == Preface[:len(first)]:
		c.lead = got
		return 0, nil
	case len(c.lead) == 0: // p has all bytes
		c.preface = false
		return n, nil
	}
	c.preface, c.lead = false, got
	return 0, nil
}

// read reads from the connection.
func (c *Conn) read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 && !c.heard.Load() && c.heard.CompareAndSwap(false, true) && c.spoke != nil {
		close(c.spoke)
	}
	if err != nil && errors.Is(err, os.ErrDeadlineExceeded) && c.isStopped() {
		err = handlers.ErrShutdown
	}
	return n, err
}

// Write writes the application's bytes. At the server the first Write waits for [Handler.Hold]
// unless the client has sent something, as a client may take all that its first read returns for
// the slot line.
func (c *Conn) Write(p []byte) (int, error) {
	if !c.heard.Load() && !c.holdTo.IsZero() {
		c.hold()
	}
	return c.Conn.Write(p)
}

// hold waits until the client has presumably read the slot line.
func (c *Conn) hold() {
	d := time.Until(c.holdTo)
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-c.spoke:
	case <-c.gone:
	}
}

// SetReadDeadline is net.Conn's. It does not replace the deadline that a shutdown has set.
func (c *Conn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopped {
		return nil
	}
	return c.Conn.SetReadDeadline(t)
}

// SetDeadline is net.Conn's. It does not replace the read deadline that a shutdown has set.
func (c *Conn) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}

// CloseWrite sends FIN after everything that was written. It returns errors.ErrUnsupported if the
// connection cannot send one.
func (c *Conn) CloseWrite() error { return handlers.CloseWrite(c.Conn) }

// Close closes the connection and frees its slot. See [Handler.OnSlotFree] for when that is called.
// A second call does nothing.
func (c *Conn) Close() error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil
	}
	c.closed = true
	if !c.ended {
		close(c.gone)
	}
	if c.late != nil {
		c.late.Stop()
	}
	c.mu.Unlock()
	c.free()
	err := c.Conn.Close()
	if c.onClose != nil {
		c.onClose()
	}
	return err
}

// isStopped reports whether the server is shutting down.
func (c *Conn) isStopped() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stopped
}

// isClosed reports whether Close was called.
func (c *Conn) isClosed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
}

// isGone reports whether the peer has ended or the connection is closed.
func (c *Conn) isGone() bool {
	select {
	case <-c.gone:
		return true
	default:
		return false
	}
}
