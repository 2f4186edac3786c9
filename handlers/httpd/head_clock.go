package httpd

import (
	"bytes"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/portluck/portluck/handlers"
)

// headClock bounds how long the HTTP/1 head that is being read may take, from its first byte. It
// observes the Reads of net/http and the deadlines that net/http sets.
type headClock struct {
	timeout time.Duration // no bound if not positive
	silence time.Duration // bound for a client that sends nothing; timeout if not positive
	first   bool          // this is the connection's first head; empty lines before it are skipped
	begun   bool          // part of the head has been read
	skipped bool          // an empty line was skipped
	preface int8          // bytes of an HTTP/2 preface read so far; negative once other bytes came
	until   time.Time     // when the head is late; zero if never, or before it has begun
	set     int32         // the value of left when until was set, or silent

	// left is the number of deadlines that net/http will still set until it has the head: one for
	// the wait, except before the first head, one for the head, and one for the rest of the
	// request.
	left atomic.Int32
	tail atomic.Uint32 // the last four bytes read, the newest in the lowest bits
}

// netHTTPBuffer is the size of the buffer that net/http reads into. A Read gets the free part of
// it, whose size shows how much of the next head was read together with the bytes before it.
const netHTTPBuffer = 4 << 10

// begins resets the clock for the next head.
func (c *headClock) begins() {
	c.first, c.begun, c.preface, c.until, c.set = false, false, -1, time.Time{}, 0
	c.left.Store(waitLeft + 1)
}

// silent is the value of set while silence bounds the wait.
const silent = -1

// beginsFirst sets the clock for the first head.
func (c *headClock) beginsFirst(timeout time.Duration) {
	c.timeout, c.first, c.preface = timeout, true, 0
	c.left.Store(1)
	if timeout > 0 {
		c.left.Store(2)
	}
}

// resumes sets the clock for a head that has begun while the connection was parked.
func (c *headClock) resumes(timeout time.Duration) {
	c.beginsFirst(timeout)
	c.first, c.begun, c.preface = false, true, -1
}

// waits counts a deadline that net/http sets. It reports whether it is the one for the wait before
// a head.
func (c *headClock) waits() bool { return c.left.Add(-1) == waitLeft }

// waitLeft is the value of left when net/http has set the deadline for the wait.
const waitLeft = 2

// over reports whether net/http has read the whole head.
func (c *headClock) over() bool { return c.left.Load() <= 0 }

// saw records that p was read.
func (c *headClock) saw(p []byte) {
	tail := c.tail.Load()
	for _, b := range p[max(0, len(p)-4):] {
		tail = tail<<8 | uint32(b)
	}
	c.tail.Store(tail)
}

// ended reports whether the last n bytes read, up to four, were part of a head.
func (c *headClock) ended(n int) bool {
	tail := c.tail.Load()
	for ; n > 0; n-- {
		if b := byte(tail); b != '\r' && b != '\n' {
			return true
		}
		tail >>= 8
	}
	return false
}

// isPreface reports whether p completes an HTTP/2 preface (RFC 9113, section 3.4) at the beginning
// of the first head.
func (c *headClock) isPreface(p []byte) bool {
	const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	for _, b := range p {
		if c.preface < 0 || b != preface[c.preface] {
			c.preface = -1
			return false
		}
		if c.preface++; int(c.preface) == len(preface) {
			return true
		}
	}
	return false
}

// farewell returns the answer to a head that is late. It is empty for a client that may still turn
// out to speak HTTP/2.
func (c *headClock) farewell() []byte {
	if c.preface >= 0 {
		return nil
	}
	return handlers.AppendRefusal(nil, http.StatusRequestTimeout, "The request did not come in time.")
}

// limit sets the deadline for the rest of a head, before a Read of up to room bytes.
func (w *watch) limit(room int) {
	c := &w.conn.head.clock
	left := c.left.Load()
	switch {
	case c.begun || c.first:
	case left == 1: // net/http has at least four bytes
		c.begun = c.ended(4)
	default:
		c.begun = c.ended(min(netHTTPBuffer-room, 4))
	}
	switch {
	case !c.begun && (!c.first || c.silence <= 0 || c.set == silent), c.begun && c.set == left:
		return // the deadline is already set, by net/http or by limit
	case !c.begun:
		c.set = silent
		w.set(time.Now().Add(c.silence))
		return
	case c.until.IsZero() && c.timeout > 0:
		c.until = time.Now().Add(c.timeout)
	}
	c.set = left
	w.set(c.until)
}

// readLines reads part of a head. It skips empty lines before the first head of a connection (RFC
// 9112, section 2.2).
func (w *watch) readLines(p []byte) (n int, err error) {
	c := &w.conn.head.clock
	for {
		var got int
		got, err = w.receive(p[n:])
		n += got
		if c.begun || !c.first {
			break
		}
		rest := p[emptyLines(p[:n]):n]
		c.skipped = c.skipped || len(rest) < n
		n = copy(p, rest)
		if err != nil || n > 1 || n == 1 && p[0] != '\r' {
			break
		}
	}
	// What is empty after "\r\r" does not come first.
	c.begun = c.begun || c.first && n > 1 || !isEmptyLines(p[:n])
	return n, err
}

// emptyLines returns the number of bytes of the empty lines at the beginning of b.
func emptyLines(b []byte) (n int) {
	for {
		switch {
		case bytes.HasPrefix(b[n:], []byte("\n")):
			n++
		case bytes.HasPrefix(b[n:], []byte("\r\n")):
			n += 2
		default:
			return n
		}
	}
}

// isEmptyLines reports whether b consists of CR and LF only, which net/http may skip.
func isEmptyLines(b []byte) bool { return len(bytes.Trim(b, "\r\n")) == 0 }
