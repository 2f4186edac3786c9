package httpd

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/portluck/portluck/handlers"
)

// watch is the net.Conn that net/http uses for HTTP/1. While a request is served net/http reads one
// byte more to notice that the client goes away, and cancels the request's context if that Read
// fails. A client that has closed its half may still wait for the answer (RFC 9112, section 9.6),
// so watch holds the end back until the connection breaks or the request has been served.
type watch struct {
	halves
	conn *httpConn

	delays *delays

	mu     sync.Mutex
	wake   sync.Cond  // signals that paused is no longer set
	paused bool       // a Read waits in pause
	delay  delay      // ends the pause
	held   chan error // the channel that hold returned
	until  time.Time  // the deadline for reading, as net/http has set it
	wanted time.Time  // the deadline of the next Read of Conn, if it is stale
	stale  bool       // Conn has not got wanted yet
	reads  bool       // a Read of Conn is running, or awaitBreak
	early  bool       // the deadline of Conn is the one for parking
	closed bool
	unread []byte // what came while the connection was parked; Read returns it first
}

// newWatch wraps nc in a watch for net/http. The result has ReadFrom (sendfile) if nc has it.
func newWatch(nc net.Conn, l *httpConn, d *delays) net.Conn {
	w := &watchFiles{watch: watch{halves: halves{nc}, conn: l, delays: d}}
	w.wake.L = &w.mu
	l.watch = &w.watch
	l.head.on.Store(true)
	from, ok := nc.(io.ReaderFrom)
	if !ok {
		return &w.watch
	}
	w.from = from
	return w
}

// watchFiles is a watch of a connection that supports sendfile.
type watchFiles struct {
	watch
	from io.ReaderFrom
}

// ReadFrom is [io.ReaderFrom.ReadFrom].
func (c *watchFiles) ReadFrom(r io.Reader) (int64, error) { return c.from.ReadFrom(r) }

// Read is [net.Conn.Read].
func (c *watch) Read(p []byte) (int, error) {
	head := &c.conn.head
	if head.on.Load() && !head.clock.over() {
		return c.readHead(p)
	}
	if len(p) == 1 && c.conn.serves() {
		if err := c.pause(); err != nil {
			return 0, err
		}
	}
	n, err := c.read(p)
	head.clock.saw(p[:n])
	if n > 0 || len(p) != 1 || !errors.Is(err, io.EOF) || !c.conn.serves() {
		return n, err
	}
	c.conn.end()
	if nc, ok := below(c.Conn).(syscall.Conn); ok && tellsBreak {
		c.begin()
		defer c.end()
		return 0, awaitBreak(nc)
	}
	return 0, <-c.hold()
}

// read reads from the connection. net/http waits for the goroutine in which it reads the one extra
// byte. A connection made by the program may panic or end that goroutine, so read then reads in
// another one.
func (c *watch) read(p []byte) (n int, err error) {
	if len(p) != 1 || len(c.unread) > 0 {
		return c.receive(p)
	}
	var panicked error
	if _, ok := below(c.Conn).(syscall.Conn); ok {
		// Guard suffices, as its Read does not end the goroutine.
		panicked = handlers.Guard(func() { n, err = c.receive(p) })
	} else {
		n, err, panicked = c.readApart(p)
	}
	if panicked != nil {
		handlers.LogPanic(c.conn.port, c.conn.conn.Info(), panicked)
		return 0, panicked
	}
	return n, err
}

// pause waits for patience before net/http watches the client, as most requests are served sooner:
// a Read that has not begun is cheaper to end than one that waits for the client. pause returns an
// error if the Read is to end.
func (c *watch) pause() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.whyEndLocked(); err != nil {
		return err
	}
	c.paused = true
	c.delays.add(&c.delay, c)
	for c.paused {
		c.wake.Wait()
	}
	return c.whyEndLocked()
}

// tooLate ends the pause, as the request takes long.
func (c *watch) tooLate() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.paused = false
	c.wake.Signal()
}

// whyEndLocked returns why a waiting Read ends now, or nil if it does not.
func (c *watch) whyEndLocked() error {
	switch {
	case c.closed:
		return net.ErrClosed
	case c.until.IsZero(), c.until.After(time.Now()):
		return nil
	}
	return os.ErrDeadlineExceeded
}

// readApart reads in a goroutine of its own. panicked is not nil if the Read panics or ends it.
func (c *watch) readApart(p []byte) (n int, err, panicked error) {
	done := make(chan error, 1)
	read := func() { n, err = c.receive(p) }
	go func() { // ends with the Read
		done <- handlers.GuardExit(read, func(err error) { done <- err })
	}()
	panicked = <-done
	return n, err, panicked
}

// hold returns the channel that gets the error of the held Read once it may end.
func (c *watch) hold() <-chan error {
	c.mu.Lock()
	defer c.mu.Unlock()
	held := make(chan error, 1)
	c.held = held
	c.releaseLocked()
	return held
}

// releaseLocked ends the paused or the held Read if it may end now.
func (c *watch) releaseLocked() {
	if c.held == nil && !c.paused {
		return
	}
	err := c.whyEndLocked()
	switch {
	case err == nil:
	case c.paused:
		c.paused = false
		c.delays.remove(&c.delay)
		c.wake.Signal()
	default:
		c.held <- err
		c.held = nil
	}
}

// SetReadDeadline is [net.Conn.SetReadDeadline]. net/http ends its Read with a deadline in the
// past. The number of deadlines set shows how far net/http has got with the head.
func (c *watch) SetReadDeadline(t time.Time) error {
	waits := c.conn.head.clock.waits()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.until, c.early = t, false
	c.releaseLocked()
	if waits {
		t = c.earlyLocked(t)
	}
	return c.setLocked(t)
}

// setLocked sets the deadline of a running Read of Conn, or of the next: net/http sets half a dozen
// for each Read.
func (c *watch) setLocked(t time.Time) error {
	if c.reads {
		return c.Conn.SetReadDeadline(t)
	}
	c.wanted, c.stale = t, true
	return nil
}

// set is setLocked for callers that do not hold the lock.
func (c *watch) set(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = c.setLocked(t)
}

// begin is called before a Read of Conn, and end behind it.
func (c *watch) begin() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.reads = true; c.stale {
		c.stale = false
		_ = c.Conn.SetReadDeadline(c.wanted)
	}
}

func (c *watch) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reads = false
}

// receive reads what came while the connection was parked, then from Conn.
func (c *watch) receive(p []byte) (int, error) {
	if len(c.unread) > 0 {
		n := copy(p, c.unread)
		if c.unread = c.unread[n:]; len(c.unread) == 0 {
			c.unread = nil
		}
		return n, nil
	}
	c.begin()
	defer c.end()
	return c.Conn.Read(p)
}

// CloseWrite closes the server's half, and waits until the client, whose body net/http has not
// read, has the answer. Soon after, net/http closes the connection, which resets it.
func (c *watch) CloseWrite() error {
	if err := c.halves.CloseWrite(); err != nil {
		return err
	}
	left := int64(lingerBytes)
	if c.conn.head.on.Load() { // its head was refused
		left = lingerHead
	}
	lingerOn(c.Conn, left, unsent)
	return nil
}

// Close is [net.Conn.Close]. It leaves a connection that is being parked open.
func (c *watch) Close() error {
	if c.conn.parking.Load() {
		return nil
	}
	c.shut()
	return c.Conn.Close()
}

// shut ends all waits, as the connection is being closed.
func (c *watch) shut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	c.releaseLocked()
}

// below returns the innermost connection, which has the file descriptor.
func below(nc net.Conn) net.Conn {
	for {
		switch c := nc.(type) {
		case interface{ NetConn() net.Conn }:
			nc = c.NetConn()
		case interface{ Current() net.Conn }: // handlers.Switch
			nc = c.Current()
		default:
			return nc
		}
	}
}
