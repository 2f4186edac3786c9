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
	"github.com/portluck/portluck/handlers/internal/linger"
)

// The life of a connection at the server: assign, [Handler.OnConnection], finish. peerEnded and
// stop may be called at any time.

// assign gets a slot for c and sends the slot line. It returns false if there is then no connection
// to serve.
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
	if !answered { // OnSlotRequest panicked
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
		if hasReset(err) { // the watcher has not reported yet that the client has gone
			return false
		}
		return failed("slot line", err)
	}
	if d := h.hold(); d > 0 {
		c.holdTo = time.Now().Add(d)
	}
	// The client has ended before the answer. It may only have nothing to send, so it still gets the
	// line.
	if gone {
		c.finish()
		return false
	}
	return true
}

// expects reports whether err only results from the client's leaving or from a shutdown.
func (c *Conn) expects(err error) bool {
	return c.isGone() || c.isStopped() && (errors.Is(err, context.Canceled) || errors.Is(err, handlers.ErrShutdown)) || isEnd(err)
}

// hasReset reports whether err, from a Write, means that the client has gone.
func hasReset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// hand gives c its slot, and frees the slot at once if the client has gone.
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

// free frees the slot if c still holds it: at once if OnConnection has begun or is not called,
// otherwise once it has.
func (c *Conn) free() {
	c.mu.Lock()
	held := c.state == slotHeld
	if held {
		c.state = slotFreed
	}
	wait := held && !c.isServed()
	if wait {
		c.wg.Go(func() { // ends with OnConnection, or servedTime after it was called
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

// servedTime is a time after which OnConnection has surely begun, even on a very busy machine.
const servedTime = 3 * time.Second

// serve calls OnConnection. OnSlotFree must not be called before OnConnection has begun, which only
// its return or the passing of servedTime shows.
func (c *Conn) serve(ctx context.Context) {
	t := time.AfterFunc(servedTime, c.setServed)
	defer t.Stop()
	defer c.setServed()
	c.guard(func() { c.handler.connection(ctx, c) })
}

// setServed allows the slot to be freed: OnConnection has begun, or is not called.
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

// stop is called when the server shuts down. The application can still read the bytes that have
// arrived; after that Read fails.
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

// lateLocked closes the connection EndTimeout from now, unless that is scheduled already.
func (c *Conn) lateLocked() {
	if c.late == nil {
		c.late = time.AfterFunc(c.handler.endTimeout(), func() { c.Conn.Close() })
	}
}

// finish ends a connection after OnConnection, so that what was written arrives: it sends FIN and
// reads what the client still sends, as closing with unread bytes would send a reset.
func (c *Conn) finish() {
	c.free()
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return
	}
	c.stopped = true // SetReadDeadline does nothing from here on
	c.mu.Unlock()
	linger.End(c.Conn, c.handler.lingerTimeout(), maxLinger)
}

// maxLinger bounds the bytes that finish reads from the client.
const maxLinger = 1 << 20

// guard calls f, a callback, and reports its panic.
func (c *Conn) guard(f func()) {
	if err := handlers.Guard(f); err != nil {
		c.fail(c.info, err)
	}
}
