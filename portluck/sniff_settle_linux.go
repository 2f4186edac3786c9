package portluck

import (
	"errors"
	"io"

	"github.com/portluck/portluck/matchers"
)

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

// late handles a connection whose time is up and which was taken out of the sniffer.
func (p *port) late(c *conn, buf []byte) {
	r, first, err := p.peekAt(c, buf, c.place.hup)
	if r != nil || err != nil {
		p.settle(c, r, first, err)
		return
	}
	before, came := c.stage(), len(first) > c.seen && !c.graced
	c.seen, c.graced = len(first), c.graced || came
	if c.stage() != before || came { // it came while the process was stalled
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
		p.announce(c)
	}
}

// goOn puts a connection back into the sniffer, with the bound of the stage that it has reached.
func (p *port) goOn(c *conn) {
	if !p.sniff.add(c) {
		// ends when the callbacks have returned
		p.Go(func() { p.lastLook(c, make([]byte, matchers.Window)) })
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
	case c.chosen == nil || !p.sniff.add(c):
		p.dropped(c)
	}
}
