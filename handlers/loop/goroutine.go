package loop

import (
	"bytes"
	"cmp"
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
	ev   Events

	// These belong to the driving goroutine.
	info      *handlers.Info
	handshake bool               // the client is not connected yet
	unread    []byte             // read before the connection was attached
	failed    error              // returned by an event; ends the connection
	taker     func(net.Conn)     // takes the connection out of the loop
	told      bool               // an event was raised in this Decode
	eof       bool               // the peer has sent FIN
	cut       bool               // the FIN was not an orderly end
	messages  *handlers.Messages // of the running Decode
	idle      idle

	dead atomic.Bool // destroyed: no event but Disconnect follows

	mu       sync.Mutex
	cond     sync.Cond // out has room again, or nothing can be written any more
	src      handlers.Conn
	rw       Transport      // nil until opened
	codec    handlers.Codec // only the driving goroutine sets it and calls Decode
	out      []byte         // not yet written
	spare    []byte         // the buffer that alternates with out
	asked    int            // bytes of out that are the codec's own answers
	cork     *time.Timer    // uncorks a turn whose callback runs long
	corked   bool           // cork is running
	turn     bool           // the driving goroutine writes out after Decode
	flushing bool           // a goroutine is writing
	ended    bool           // the farewell is in out or was written: nothing is added
	shut     bool           // our FIN was sent
	broken   bool           // nothing can be written any more
	haltBy   time.Time      // set by a shutdown: when the connection must end
	closeBy  time.Time      // set when our side has ended: when the connection is closed
	cause    error          // why nothing can be written
	ends     reason         // the error for Disconnect; nil if none is given
	quit     *time.Timer    // destroys the connection after Quit; nil before
	alarm    *time.Timer    // calls Wake; nil before Wake is called for later
	called   bool           // the events are to be woken
	paused   bool           // reading is paused
	half     bool           // the peer has closed its side; set by the driving goroutine
	feeds    []Drainer      // waiting until out is empty
}

func (l *Loop) newGoConn(c handlers.Conn, a handlers.Attachment) *goConn {
	gc := &goConn{loop: l, src: c, codec: a.Codec, info: cmp.Or(a.Info, c.Info()), handshake: a.Handshake, unread: a.Unread}
	gc.cond.L = &gc.mu
	return gc
}

// add admits c. It returns false if the loop is closing.
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
	// A callback must not run in the accepting goroutine.
	c.loop.tasks.Go(func() { ev.Disconnect(handlers.ErrShutdown) })
	return nil
}

// events is [ender.events].
func (c *goConn) events() Events { return c.ev }

func (c *goConn) drive() {
	var err error
	_ = handlers.GuardExit(func() {
		if err = c.open(); err == nil {
			err = c.guard(c.readLoop)
		}
	}, func(err error) { // a callback has ended this goroutine
		go func() { // ends with the connection; Loop.Wait waits for it
			c.endTurn(nil)
			c.loop.panicked(c.ev, err)
			c.end(err)
		}()
	})
	c.end(err)
}

// guard runs f and returns its error. If a codec panics in f, guard logs the panic and returns it
// as the error: only this connection is lost.
func (c *goConn) guard(f func() error) (err error) {
	if p := handlers.Guard(func() { err = f() }); p != nil {
		c.endTurn(nil)
		c.loop.panicked(c.ev, p)
		return p
	}
	return err
}

// open announces the client, unless its codec has a handshake.
func (c *goConn) open() error {
	c.idle.start()
	if c.handshake {
		return nil
	}
	c.beginTurn()
	err := c.ev.Connect(c.info)
	c.endTurn(nil)
	return err
}

// readLoop reads and decodes until the peer, the codec or an event ends the connection. It returns
// nil if the connection ended in order.
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

// decode calls the codec with what was read until the codec needs more. done reports whether the
// connection must end.
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

// finish notes that the peer sends no more. good reports whether the peer ended in order; a failed
// write before shows that it did not.
func (c *goConn) finish(good bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.eof, c.cut = true, !good || c.broken && c.cause != nil
}

// upgrade makes m.Next, if Decode has set it, the codec of the connection.
func (c *goConn) upgrade(m *handlers.Messages) {
	if m.Next == nil {
		return
	}
	c.mu.Lock()
	c.codec = m.Next
	c.mu.Unlock()
}

// events is the goConn as the receiver of its codec's events.
type events goConn

// Connect announces the client. Its codec is now the one that the handshake chose.
func (e *events) Connect(info *handlers.Info) {
	c := (*goConn)(e)
	c.upgrade(c.messages)
	c.queueReply(c.messages)
	c.handshake, c.info = false, info
	c.idle.start()
	c.told = true
	c.failed = c.ev.Connect(info)
}

// Message raises the event, unless an earlier event failed or the connection was destroyed.
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
