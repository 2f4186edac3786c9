package portluck

import (
	"errors"
	"io"
	"os"
	"syscall"

	"github.com/portluck/portluck/matchers"
	"golang.org/x/sys/unix"
)

// peekAt classifies c by the bytes that have come so far.
func (p *port) peekAt(c *conn, buf []byte, hup bool) (r *route, first []byte, err error) {
	fd, err := c.fd()
	if err != nil {
		return nil, nil, err
	}
	for {
		n, err := recvPeek(fd, buf)
		if err != nil {
			return nil, nil, c.fails(os.NewSyscallError("recv", err))
		}
		eof := n == 0
		if n > 0 && hup {
			eof = !hasMore(fd, n, buf)
		}
		r, skip, err := p.look(c, buf[:max(n, 0)], eof)
		switch {
		case skip > 0 && err == nil:
		case r == nil && err == nil && n > 0 && c.eager:
			return nil, buf[:n], errMarked
		case r == nil && err == nil && n > 0 && hasMore(fd, n, buf):
			if again, err := recvPeek(fd, buf); err != nil || again > n {
				continue // more has come meanwhile
			}
			return nil, buf[:n], errMarked
		default:
			return r, buf[:max(n, 0)], err
		}
		if _, err := unix.Read(fd, buf[:skip]); err != nil {
			return nil, nil, os.NewSyscallError("read", err)
		}
		c.seen = 0
	}
}

// errMarked means that a connection must be read to be classified: it is eager, or a peek ends at
// a mark, the place of urgent data or of a passed descriptor, with more bytes behind it.
var errMarked = errors.New("a mark")

// hasMore reports whether the kernel has more than the n bytes that a peek into buf found.
func hasMore(fd, n int, buf []byte) bool {
	if n == len(buf) {
		return false // buf is full: no matcher sees more
	}
	all, err := unix.IoctlGetInt(fd, unix.SIOCINQ)
	return err == nil && all > n
}

// recvPeek peeks at the received bytes. It returns how many there are, 0 at the end of the stream,
// or -1 if there are none yet.
func recvPeek(fd int, buf []byte) (int, error) {
	for {
		n, _, err := unix.Recvfrom(fd, buf, unix.MSG_PEEK|unix.MSG_DONTWAIT)
		switch err {
		case nil:
			return n, nil
		case syscall.EAGAIN:
			return -1, nil
		case syscall.EINTR:
		default:
			return 0, err
		}
	}
}

// settle dispatches, reads on or drops a connection, which no other goroutine uses.
func (p *port) settle(c *conn, r *route, first []byte, err error) {
	switch {
	case errors.Is(err, io.EOF):
		c.Close()
	case errors.Is(err, errMarked):
		p.readOn(c)
	case err != nil:
		c.sayFarewell()
		p.drop(c, err)
	default:
		p.dispatch(c, r, first)
	}
}

// readOn makes a reader classify c, which no other goroutine uses.
func (p *port) readOn(c *conn) {
	c.inRoot = false
	nc, err := c.NetConn()
	if err != nil {
		p.drop(c, err)
		return
	}
	c.mu.Lock()
	closed := c.closed
	c.sock = replayed{&replayConn{Conn: nc}}
	c.mu.Unlock()
	if closed {
		nc.Close()
		return
	}
	p.sniffReader(c)
}

// late handles a connection whose time is up and which was taken out of the sniffer.
func (p *port) late(c *conn, buf []byte) {
	r, first, err := p.peekAt(c, buf, c.place.hup)
	if r != nil || err != nil {
		p.settle(c, r, first, err)
		return
	}
	before, came := c.stage(), len(first) > c.seen && !c.graced
	c.seen, c.graced = len(first), c.graced || came
	if c.stage() != before || c.retires() || came { // it came while the process was stalled
		p.goOn(c)
		return
	}
	r, err = p.expire(c, first)
	switch {
	case r != nil || err != nil:
		p.settle(c, r, first, err)
	case c.chosen != nil:
		p.goOn(c)
	case p.srv.OnUnmatched != nil:
		c.waiting = true
		p.goOn(c)
	default:
		p.announce(c, parking{c})
	}
}

// goOn puts a connection back into the sniffer, with the bound of the stage that it has reached.
func (p *port) goOn(c *conn) {
	if c.retires() && !p.retire(c) {
		return
	}
	if !p.sniff.add(c) {
		p.Go(func() { p.lastLook(c, make([]byte, matchers.Window)) }) // ends when the callbacks have returned
	}
}

// lastLook classifies a connection for the last time at a shutdown. It serves what the client has
// sent by now.
func (p *port) lastLook(c *conn, buf []byte) {
	r, first, err := p.peekAt(c, buf, c.place.hup)
	c.seen = len(first)
	if r == nil && err == nil && c.undecidedBytes() {
		r, err = p.passOver(c, first)
	}
	switch {
	case r != nil || err != nil:
		p.settle(c, r, first, err)
	case c.retires():
		p.goOn(c)
	case c.chosen == nil || !p.sniff.add(c):
		p.dropped(c)
	}
}

// parking is the [loop.Parking] of one connection in the sniffer.
type parking struct{ *conn }

// Park is [loop.Parking.Park].
func (k parking) Park() {
	k.waiting = true
	k.port.goOn(k.conn)
}

// Take is [loop.Parking.Take].
func (k parking) Take() bool { return k.port.sniff.takeParked(k.conn) }
