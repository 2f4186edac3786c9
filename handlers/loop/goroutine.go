package loop

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/internal/parts"
)

// goConn is a connection of the goroutine driver.
type goConn struct {
	loop *Loop
	src  handlers.Conn
	ev   Events

	// These belong to the driving goroutine.
	info      *handlers.Info
	handshake bool               // the client is not connected yet
	unread    []byte             // read before the connection was attached
	parking   Parking            // where it waits for its first bytes, or nil
	failed    error              // of an event: ends the connection
	taker     func(net.Conn)     // takes the connection out of the loop
	told      bool               // an event was raised in this Decode
	eof       bool               // the peer has sent FIN
	cut       bool               // that was no end in good order
	messages  *handlers.Messages // of the Decode that is running
	idle      idle

	dead atomic.Bool // destroyed: no more events but the last

	mu       sync.Mutex
	cond     sync.Cond      // out has room again, or nothing can be written any more
	rw       Transport      // nil until it is opened
	codec    handlers.Codec // Decode is the driving goroutine's, which alone sets it
	out      []byte         // not yet written
	spare    []byte         // the buffer that out takes turns with
	asked    int            // bytes of out that the codec has answered
	cork     *time.Timer    // uncorks a turn whose callback takes its time
	parked   bool           // parking has it
	entering bool           // it is on its way to parking
	wanted   bool           // it is to be taken back when it has got there
	corked   bool           // cork is running
	turn     bool           // the driving goroutine will write out when it has decoded
	flushing bool           // a goroutine is writing
	ended    bool           // the farewell is in out or was written: nothing is added
	shut     bool           // our FIN was sent
	broken   bool           // nothing can be written any more
	haltBy   time.Time      // the loop is shutting down: by then it ends
	closeBy  time.Time      // our side has ended: by then it closes
	cause    error          // why nothing can be written
	ends     reason         // what Disconnect tells; a good end if none is given
	quit     *time.Timer    // destroys it after Quit; nil before
	alarm    *time.Timer    // calls Wake; nil before Wake is called for later
	called   bool           // its events are to be woken
	paused   bool           // it is not read
	half     bool           // the peer has sent its last, and the program may still write; the driving goroutine sets it
	feeds    []Drainer      // that wait for out to be empty
}

func (l *Loop) newGoConn(c handlers.Conn, a handlers.Attachment) *goConn {
	gc := &goConn{loop: l, src: c, codec: a.Codec, info: a.Info, handshake: a.Handshake, unread: a.Unread}
	gc.cond.L = &gc.mu
	return gc
}

// add admits c, unless the loop is closing.
func (l *Loop) add(c *goConn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closing {
		return false
	}
	if l.conns == nil {
		l.conns = map[*goConn]struct{}{}
	}
	l.conns[c] = struct{}{}
	l.admitted()
	return true
}

func (l *Loop) remove(c *goConn) {
	l.mu.Lock()
	delete(l.conns, c)
	l.mu.Unlock()
	l.left()
}

// Start is [Conn.Start].
func (c *goConn) Start(ev Events) (run func()) {
	c.ev = ev
	if c.loop.add(c) {
		return c.drive
	}
	c.abort(handlers.ErrShutdown)
	c.closeSource()
	c.loop.tasks.Go(func() { ev.Disconnect(handlers.ErrShutdown) }) // a callback must not run in the accepting goroutine
	return nil
}

func (c *goConn) drive() { c.run(false) }

func (c *goConn) run(connected bool) {
	var err error
	parked := false
	_ = handlers.GuardExit(func() {
		err = c.open(connected)
		if parked = err == nil && c.parking != nil && !connected && c.park(); !parked && err == nil {
			err = c.guard(c.readLoop)
		}
	}, func(err error) { // a callback has ended this goroutine: another one goes on
		go func() { // ends with the connection; Loop.Wait waits for it
			c.endTurn(nil)
			c.loop.panicked(c.ev, err)
			c.end(err)
		}()
	})
	if !parked {
		c.end(err)
	}
}

// guard runs f, in which a panic of a codec costs this connection only.
func (c *goConn) guard(f func() error) (err error) {
	if p := handlers.Guard(func() { err = f() }); p != nil {
		c.endTurn(nil)
		c.loop.panicked(c.ev, p)
		return p
	}
	return err
}

// open announces a client that needs no handshake.
func (c *goConn) open(connected bool) error {
	c.idle.start()
	switch {
	case connected:
		c.endTurn(nil) // sends what was written while it was parked
		return nil
	case c.handshake:
		return nil
	}
	c.beginTurn()
	err := c.ev.Connect(c.info)
	c.endTurn(nil)
	return err
}

// readLoop reads and decodes until the peer, the codec or an event ends it. A nil error is an end
// in good order.
func (c *goConn) readLoop() error {
	in := input{Buffer: parts.Buffer{Budget: c.loop.budget()}}
	defer in.release()
	c.mu.Lock()
	err := c.transportLocked()
	c.mu.Unlock()
	if err != nil {
		return err
	}
	for {
		if done, err := c.rest(&in); done {
			return err
		}
		if len(c.unread) > 0 {
			in.Put(c.unread)
			c.unread = nil
			if done, err := c.decode(&in, false); done {
				return err
			}
			continue
		}
		c.idle.arm(c)
		n, err := c.rw.Read(in.Space())
		if n > 0 {
			in.Filled(n)
			c.idle.hear()
			if done, err := c.decode(&in, false); done {
				return err
			}
		}
		switch err = cutError(c.rw, err); {
		case err == nil:
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			c.finish(errors.Is(err, io.EOF))
			if done, err := c.decode(&in, true); done {
				return err
			}
			c.stay()
		case errors.Is(err, os.ErrDeadlineExceeded):
			if done, err := c.idle.expired(c); done {
				return err
			}
		default:
			return err
		}
	}
}

// decode hands what was read to the codec, until that wants more. It is done when the connection is
// to be ended.
func (c *goConn) decode(in *input, eof bool) (done bool, err error) {
	m := handlers.Messages{EOF: eof, Events: (*events)(c), Reply: in.reply[:0], Budget: in.Budget}
	c.messages, c.told = &m, false
	for {
		m.Cut, m.Partial, m.Kept, m.HalfOpen = c.cut, false, 0, false
		c.beginTurn()
		n, err := c.codec.Decode(in.Bytes(), &m)
		c.upgrade(&m)
		next := m.Next != nil
		m.Next = nil
		c.taker = m.Hijack
		if c.failed == nil && errors.Is(err, io.EOF) {
			c.lastWord(&m)
		}
		c.endTurn(&m)
		in.reply = m.Reply
		in.Took(n)
		switch {
		case c.failed != nil:
			return true, c.failed
		case err == nil && c.taker != nil:
			c.unread = bytes.Clone(in.Bytes())
			return true, nil
		case errors.Is(err, io.EOF):
			return true, nil
		case err != nil:
			return true, err
		case !next && c.cut:
			return true, io.ErrUnexpectedEOF
		case !next:
			if eof && !m.HalfOpen {
				return true, nil
			}
			c.idle.message(len(in.Bytes()) > 0 || m.Partial, c.told)
			err := in.keep(m.Kept)
			return err != nil, err
		}
	}
}

// finish notes the end of what the peer sends. It is none in good order where a write has found out
// that the peer is gone.
func (c *goConn) finish(good bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.eof, c.cut = true, !good || c.broken && c.cause != nil
}

// upgrade makes the codec that Decode named the connection's.
func (c *goConn) upgrade(m *handlers.Messages) {
	if m.Next == nil {
		return
	}
	c.mu.Lock()
	c.codec = m.Next
	c.mu.Unlock()
}

// events is what a codec reports to.
type events goConn

// Connect announces the client, whose codec is the one that the handshake chose.
func (e *events) Connect(info *handlers.Info) {
	c := (*goConn)(e)
	c.upgrade(c.messages)
	c.queueReply(c.messages)
	c.handshake, c.info = false, info
	c.idle.start()
	c.told = true
	c.failed = c.ev.Connect(info)
}

// Message raises the event, unless the connection was destroyed by an earlier one.
func (e *events) Message(m handlers.Message) {
	c := (*goConn)(e)
	if c.failed != nil || c.dead.Load() {
		return
	}
	if len(c.messages.Reply) > 0 {
		c.queueReply(c.messages)
	}
	c.told = true
	c.failed = c.ev.Message(m)
}
