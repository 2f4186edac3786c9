package loop

import (
	"errors"
	"net/http"
	"os"
	"time"

	"github.com/portluck/portluck/handlers"
)

// patience is how long a callback may run before what it wrote is sent without waiting for it to return.
const patience = time.Millisecond

var _ Conn = (*goConn)(nil)

// Write is [handlers.Stream.Write].
func (c *goConn) Write(p []byte, k handlers.Kind) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.roomLocked(true); err != nil {
		return 0, err
	}
	c.out = c.codec.AppendWrite(c.out, p, k)
	c.kickLocked()
	return len(p), nil
}

// Send is [handlers.Stream.Send].
func (c *goConn) Send(p []byte, k handlers.Kind) error { return c.send(p, k, true) }

// TrySend is [handlers.Stream.TrySend].
func (c *goConn) TrySend(p []byte, k handlers.Kind) error { return c.send(p, k, false) }

func (c *goConn) send(p []byte, k handlers.Kind, wait bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.roomLocked(wait); err != nil {
		return err
	}
	c.out = c.codec.AppendMessage(c.out, p, k)
	c.kickLocked()
	return nil
}

// Queued is [Conn.Queued]. What is being written counts as written.
func (c *goConn) Queued() (n int, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.out), !c.broken
}

// Drain is [Conn.Drain].
func (c *goConn) Drain(f Feeder) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.broken || len(c.out) == 0 && !c.flushing {
		return false
	}
	c.feeds = append(c.feeds, f)
	return true
}

// Framing is [Conn.Framing].
func (c *goConn) Framing() handlers.Framing {
	c.mu.Lock()
	defer c.mu.Unlock()
	return framingOf(c.codec)
}

func framingOf(codec handlers.Codec) handlers.Framing {
	if f, ok := codec.(handlers.Framer); ok {
		return f.Framing()
	}
	return nil
}

// Feed is [Conn.Feed].
func (c *goConn) Feed(p []byte, f Fed) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.ended || c.broken:
		return 0, handlers.ErrClosed
	case len(c.out) > 0 || c.flushing:
		c.feeds = append(c.feeds, f)
		return 0, nil
	}
	n := f.End(min(len(p), flushAt)) // the rest is better kept once for all
	if c.out = append(c.out, p[:n]...); n < len(p) {
		c.feeds = append(c.feeds, f)
	}
	c.kickLocked()
	return n, nil
}

// DoneAfterWrite does nothing: a connection is not done with an answer.
func (c *goConn) DoneAfterWrite() {}

// Done does nothing.
func (c *goConn) Done() error { return nil }

// Header is nil.
func (c *goConn) Header() http.Header { return nil }

// WriteHeader does nothing.
func (c *goConn) WriteHeader(int) {}

// End is [handlers.Stream.End]. What the peer still sends is delivered; a peer that does not answer a farewell of the
// protocol is closed after closeWait.
func (c *goConn) End() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended || c.broken {
		return handlers.ErrClosed
	}
	before := len(c.out)
	c.endLocked(nil)
	if len(c.out) > before {
		c.closeBy = time.Now().Add(closeWait)
		c.wakeLocked(c.closeBy)
	}
	c.kickLocked()
	return nil
}

// Quit is [Conn.Quit].
func (c *goConn) Quit(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.broken || c.quit != nil {
		return
	}
	if !c.ended {
		c.endLocked(err)
	}
	if c.cause == nil {
		c.cause = err
	}
	c.quit = time.AfterFunc(closeWait, func() { c.abort(err) }) // also when it waits for the peer to read
	c.closeBy = time.Now().Add(closeWait)
	c.wakeLocked(c.closeBy)
	c.kickLocked()
}

func (c *goConn) stopQuit() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.quit != nil {
		c.quit.Stop()
	}
}

// Destroy is [handlers.Stream.Destroy]. What the kernel takes at once of what was written still goes out.
func (c *goConn) Destroy() {
	c.mu.Lock()
	if rw := c.rw; rw != nil && len(c.out) > 0 && !c.flushing && !c.broken {
		buf := c.out
		c.out = nil
		_ = rw.SetWriteDeadline(time.Now().Add(quiet))
		c.mu.Unlock()
		_, _ = rw.Write(buf)
		c.mu.Lock()
	}
	c.mu.Unlock()
	c.abort(nil)
}

// abort closes the connection at once; the driving goroutine ends. The first cause that is not nil is kept.
func (c *goConn) abort(cause error) {
	c.dead.Store(true)
	c.mu.Lock()
	rw := c.rw
	c.breakLocked(cause)
	c.unparkLocked()
	c.mu.Unlock()
	if rw != nil {
		rw.Close()
	}
}

// halt asks the connection to end: what the peer has sent already is still served.
func (c *goConn) halt() {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	c.haltBy = now.Add(lingerTime)
	c.wakeLocked(now.Add(quiet))
	c.unparkLocked()
}

// wakeLocked makes the driving goroutine look up from its Read by t.
func (c *goConn) wakeLocked(t time.Time) {
	if c.rw != nil && !c.broken {
		_ = c.rw.SetReadDeadline(t)
	}
}

func (c *goConn) breakLocked(cause error) {
	if c.cause == nil {
		c.cause = cause
	}
	c.broken = true
	c.out, c.spare = nil, nil
	c.cond.Broadcast()
	c.drainedLocked()
}

// drainedLocked tells those that feed the connection to go on.
func (c *goConn) drainedLocked() {
	for _, f := range c.feeds {
		go f.Drained() // ends when it has fed what there is
	}
	c.feeds = nil
}

func (c *goConn) endLocked(reason error) {
	c.ended = true
	c.out = farewell(c.codec, c.out, reason)
	c.cond.Broadcast()
}

// farewell appends what the codec has to say at the end. A panic costs no more than that.
func farewell(codec handlers.Codec, dst []byte, reason error) (said []byte) {
	defer func() {
		if recover() != nil {
			said = dst
		}
	}()
	return codec.AppendClose(dst, reason)
}

// roomLocked waits for room in the queue, or says that there is none.
func (c *goConn) roomLocked(wait bool) error {
	for {
		switch {
		case c.ended || c.broken:
			return handlers.ErrClosed
		case len(c.out) < c.loop.maxQueue():
			return nil
		case !wait:
			return handlers.ErrSlow
		}
		c.startFlushLocked()
		c.cond.Wait()
	}
}

// kickLocked sees to it that out gets written: by the turn's end if that comes soon.
func (c *goConn) kickLocked() {
	switch {
	case c.flushing:
	case c.parked:
		c.unparkLocked()
	case !c.turn || len(c.out) >= flushAt:
		c.startFlushLocked()
	case c.corked:
	case c.cork == nil:
		c.corked = true
		c.cork = time.AfterFunc(patience, c.uncork)
	default:
		c.corked = true
		c.cork.Reset(patience)
	}
}

// uncork sends what a callback that takes its time has written.
func (c *goConn) uncork() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.corked = false
	if c.turn && len(c.out) > 0 {
		c.startFlushLocked()
	}
}

func (c *goConn) startFlushLocked() {
	if c.flushing {
		return
	}
	c.flushing = true
	go func() { // ends when out is empty or cannot be written; goodbye waits for it
		c.mu.Lock()
		defer c.mu.Unlock()
		c.flushLocked()
	}()
}

// flushLocked writes until out is empty, and FIN after a farewell. c.mu is released while it writes.
func (c *goConn) flushLocked() {
	c.flushing = true
	for len(c.out) > 0 && !c.broken && c.transportLocked() == nil {
		buf := c.out
		c.out, c.spare = c.spare[:0], nil
		c.mu.Unlock()
		err := c.write(buf)
		c.mu.Lock()
		if err != nil {
			c.writeFailedLocked(err)
		}
		if !c.broken && cap(buf) <= flushAt {
			c.spare = buf
		}
		c.cond.Broadcast()
	}
	if c.ended && !c.shut && !c.broken && c.transportLocked() == nil {
		c.shut = true
		c.mu.Unlock()
		_ = c.rw.CloseWrite() // may wait for the peer on TLS
		c.mu.Lock()
	}
	c.flushing = false
	c.cond.Broadcast()
	c.drainedLocked()
}

func (c *goConn) write(buf []byte) error {
	c.idle.beforeWrite(c)
	_, err := c.rw.Write(buf)
	c.idle.wrote()
	return err
}

// writeFailedLocked stops writing. What the peer has sent is still read, unless it is too slow a reader.
func (c *goConn) writeFailedLocked(err error) {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		c.breakLocked(handlers.ErrSlow)
		c.dead.Store(true)
		c.rw.Close()
		return
	}
	c.breakLocked(nil)
}

func (c *goConn) beginTurn() {
	c.mu.Lock()
	c.turn = true
	c.mu.Unlock()
}

// endTurn writes what the turn produced.
func (c *goConn) endTurn(m *handlers.Messages) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.turn = false
	if m != nil {
		c.replyLocked(m)
	}
	if c.corked {
		c.corked = false
		c.cork.Stop()
	}
	if !c.flushing && (len(c.out) > 0 || c.ended && !c.shut) {
		c.flushLocked()
	}
	for c.flushing && len(c.out) >= c.loop.maxQueue() && !c.broken {
		c.cond.Wait() // a peer that does not read is not read: what it asks for would be queued without bound
	}
}

// goodbye tells the peer why it ends, sends FIN after all that was written, and waits a moment for the peer to read it.
func (c *goConn) goodbye(reason error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.transportLocked() != nil {
		return
	}
	if !c.ended && !c.broken {
		c.endLocked(reason)
	}
	for c.flushing {
		c.cond.Wait()
	}
	if c.broken {
		return
	}
	if c.shut = c.shut || c.eof && len(c.out) == 0; c.shut { // closing is as good a FIN
		return
	}
	_ = c.rw.SetWriteDeadline(time.Now().Add(closeWait))
	c.idle.armedLate.Store(time.Now().UnixNano())
	c.flushLocked()
	if c.broken || c.eof || reason == handlers.ErrTimeout {
		return
	}
	c.mu.Unlock()
	c.linger()
	c.mu.Lock()
}

// linger swallows what the peer still sends: closing with unread bytes would reset the connection, and the peer would
// lose our last words (RFC 9112, section 9.6).
func (c *goConn) linger() {
	_ = c.rw.SetReadDeadline(time.Now().Add(lingerTime))
	buf := readBuffers.Get().(*[firstRead]byte)
	defer readBuffers.Put(buf)
	for total := 0; total < lingerMax; {
		n, err := c.rw.Read(buf[:])
		if err != nil {
			return
		}
		total += n
	}
}
