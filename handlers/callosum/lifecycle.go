package callosum

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/portluck/portluck/handlers"
)

// The life of a connection at the server: assign, [Handler.OnConnection], finish. peerEnded and
// stop may come in between.

// assign gets c a slot and sends the slot line. It returns false if there is no connection to serve
// after that.
func (c *Conn) assign(ctx context.Context) bool {
	h := c.handler
	ctx, cancel := context.WithTimeout(ctx, h.slotTimeout())
	defer cancel()
	var late atomic.Bool
	timer := time.AfterFunc(h.slotTimeout(), func() {
		late.Store(true)
		c.Conn.Close()
	})
	defer timer.Stop()
	failed := func(what string, err error) bool {
		switch {
		case late.Load(), errors.Is(ctx.Err(), context.DeadlineExceeded):
			c.fail(c.info, fmt.Errorf("%s: %w", what, ErrSlotTimeout))
		case !c.expects(err):
			c.fail(c.info, fmt.Errorf("%s: %w", what, err))
		}
		return false
	}
	slot, err, answered := 0, error(nil), false
	c.guard(func() {
		slot, err = h.request(ctx)
		answered = true
	})
	if !answered { // it panicked
		return false
	}
	if err != nil {
		return failed("slot request", err)
	}
	c.hand(slot)
	if late.Load() {
		return failed("slot request", nil)
	}
	gone := c.isGone()
	if _, err := c.Conn.Write(appendLine(nil, slot)); err != nil {
		if hasReset(err) { // before the watcher reported that the client has gone
			return false
		}
		return failed("slot line", err)
	}
	if d := h.hold(); d > 0 {
		c.holdTo = time.Now().Add(d)
	}
	if gone { // before the answer: the line was for one that only has nothing to send
		c.finish()
		return false
	}
	return true
}

// expects reports whether err is only a consequence of the client's leaving or of a shutdown.
func (c *Conn) expects(err error) bool {
	return c.isGone() || c.isStopped() && (errors.Is(err, context.Canceled) || errors.Is(err, handlers.ErrShutdown)) || isEnd(err)
}

// hasReset reports whether err, from a Write, means that the client has gone.
func hasReset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// hand gives c its slot, and frees it at once if the client has gone.
func (c *Conn) hand(slot int) {
	c.mu.Lock()
	c.slot, c.state = slot, slotHeld
	gone := c.ended || c.closed
	c.mu.Unlock()
	c.handler.mu.Lock()
	c.handler.given++
	c.handler.mu.Unlock()
	if gone {
		c.setServed() // OnConnection is not called
		c.free()
	}
}

// holds reports whether c holds its slot.
func (c *Conn) holds() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state == slotHeld
}

// free frees the slot if c still holds it: at once, or once OnConnection is known to have begun.
func (c *Conn) free() {
	c.mu.Lock()
	held := c.state == slotHeld
	if held {
		c.state = slotFreed
	}
	wait := held && !c.isServed()
	if wait {
		c.wg.Go(func() { // ends when OnConnection does, or servedTime after it was called
			<-c.served
			c.release()
		})
	}
	c.mu.Unlock()
	if held && !wait {
		c.release()
	}
}

func (c *Conn) release() { c.guard(func() { c.handler.release(c.slot) }) }

// servedTime is the time after which the first lines of OnConnection have certainly run, even on a
// very busy machine.
const servedTime = 3 * time.Second

// serve calls OnConnection. The program must hear of the connection before OnSlotFree. Only the
// return of the callback, or some time, shows that it has begun.
func (c *Conn) serve(ctx context.Context) {
	t := time.AfterFunc(servedTime, c.setServed)
	defer t.Stop()
	defer c.setServed()
	c.guard(func() { c.handler.connection(ctx, c) })
}

// setServed allows the slot to be freed, as OnConnection has begun or is not called.
func (c *Conn) setServed() { c.onceServed.Do(func() { close(c.served) }) }

func (c *Conn) isServed() bool {
	select {
	case <-c.served:
		return true
	default:
		return false
	}
}

// peerEnded is called when the client has sent FIN or a reset.
func (c *Conn) peerEnded() {
	c.mu.Lock()
	if c.ended || c.closed {
		c.mu.Unlock()
		return
	}
	c.ended = true
	close(c.gone)
	c.lateLocked()
	c.mu.Unlock()
	c.cancel(io.EOF)
	c.free()
}

// stop is called when the server shuts down. Bytes that have arrived can still be read; then reads
// fail.
func (c *Conn) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopLocked()
}

func (c *Conn) stopLocked() {
	if c.stopped || c.closed {
		return
	}
	c.stopped = true
	_ = c.Conn.SetReadDeadline(time.Now().Add(settleTime))
	c.lateLocked()
	c.cancel(handlers.ErrShutdown)
}

// settleTime is how long a shutdown waits for bytes that are still on their way.
const settleTime = 50 * time.Millisecond

// lateLocked gives the application EndTimeout from now.
func (c *Conn) lateLocked() {
	if c.late == nil {
		c.late = time.AfterFunc(c.handler.endTimeout(), func() { c.Conn.Close() })
	}
}

// finish ends a connection that was served, so that what was written arrives. Closing it with
// unread bytes would reset it.
func (c *Conn) finish() {
	c.free()
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return
	}
	c.stopped = true // the deadline is ours from here on
	_ = c.Conn.SetReadDeadline(time.Now().Add(c.handler.lingerTimeout()))
	c.mu.Unlock()
	if handlers.CloseWrite(c.Conn) == nil {
		_, _ = io.CopyN(io.Discard, c.Conn, maxLinger)
	}
}

// maxLinger bounds the bytes that are still read from a client after the application has finished.
const maxLinger = 1 << 20

// guard runs a callback and reports its panic.
func (c *Conn) guard(f func()) {
	if err := handlers.Guard(f); err != nil {
		c.fail(c.info, err)
	}
}
