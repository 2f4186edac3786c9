package portluck

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/loop"
	"github.com/portluck/portluck/handlers/tcp"
	"github.com/portluck/portluck/matchers"
)

// driven is a [Client] as those who drive it see it: the loop, and handlers (it is their
// [handlers.Client]). Programs have no way to it, so that nothing but the connection itself raises
// the events.
type driven Client

var _ handlers.Client = (*driven)(nil)

func (p *port) newDriven(c handlers.Conn, a handlers.Attachment) (*driven, loop.Conn) {
	info := a.Info
	if info == nil {
		info = c.Info()
	}
	lc := p.loop.New(c, a)
	d := &Client{stream: lc, id: p.hub.lastID.Add(1), remote: compact(info.Remote)}
	d.identify(p.hub, p.log, info)
	return (*driven)(d), lc
}

// Connect is [loop.Events.Connect].
func (d *driven) Connect(info *Info) error {
	c := (*Client)(d)
	h, l := c.hub(), c.log()
	if info.Request == nil {
		c.identify(h, l, info)
		return c.connect()
	}
	c.become(&identity{hub: h, log: l, info: info}) // OnConnect gets the Request itself
	err := c.connect()
	c.identify(h, l, info)
	return err
}

// Message raises OnMessage; see [handlers.Client].
func (d *driven) Message(m Message) error {
	c := (*Client)(d)
	switch {
	case c.gone || c.who.Load().cause != nil:
		return handlers.ErrClosed
	case c.hub().OnMessage == nil:
		return nil
	}
	c.received(len(m.Data))
	return c.guard(func() { c.hub().OnMessage(m, c.Writer(), c) })
}

// Disconnect raises OnDisconnect, or OnError for a client that never connected; see
// [handlers.Client].
func (d *driven) Disconnect(err error) {
	c := (*Client)(d)
	if c.gone {
		return
	}
	c.gone = true
	d.LogPanic(err) // of the handler that drives it
	if cause := c.who.Load().cause; cause != nil && !c.quits() {
		err = *cause
	}
	if !c.connected {
		if err != nil {
			c.log().failures.Add(1)
		}
		c.hub().fail(c.log(), c.Info(), err)
		return
	}
	c.hub().remove(c)
	c.leaveRooms()
	c.log().disconnect(c, err)
	if c.hub().OnDisconnect != nil {
		_ = c.guard(func() { c.hub().OnDisconnect(c, err) })
	}
}

// LogPanic is [loop.PanicLogger.LogPanic].
func (d *driven) LogPanic(err error) {
	if errors.Is(err, handlers.ErrPanic) { // Info may have to be made
		c := (*Client)(d)
		c.log().panicked(c.Info(), err)
	}
}

// announced is the client of a connection that has not shown its protocol.
type announced struct {
	loop.Conn
	client *driven
}

// adopt makes a raw connection of it. Its info may be that of a PROXY header by now.
func (a *announced) adopt(codec handlers.Codec, info *Info) {
	c := (*Client)(a.client)
	c.identify(c.hub(), c.log(), info)
	a.Adopt(codec)
}

// announce makes a raw client of a connection that has been silent for SniffTimeout. It goes on
// being sniffed, and costs nothing, until it shows its protocol or the program writes to it.
func (p *port) announce(c *conn, where loop.Parking) {
	p.stats.silent.Add(1)
	c.info.Route = RouteSilent
	a := handlers.Attachment{Codec: &unknown{port: p, conn: c}}
	if c.info.Remote.Addr().Zone() != "" { // the client would keep what a later verdict changes
		info := c.info
		a.Info = &info
	}
	d, lc := p.newDriven(c, a)
	c.pending = &announced{lc, d}
	lc.StartParked(d, where)
}

// retires reports whether c was announced as a raw client and has turned out to be something else,
// although not yet whole.
func (c *conn) retires() bool { return c.chosen != nil && c.pending != nil }

// retire ends the raw client of a connection that has turned out to be something else. It is false,
// and the connection closed, when that client was sent something: the peer would take it for an
// answer in its own protocol.
func (p *port) retire(c *conn) bool {
	old := c.pending
	c.pending = nil
	if old.Retire() {
		return true
	}
	c.Close()
	return false
}

// unknown is the codec of a silent client that the program has spoken to first. It must turn out to
// be raw: a route of the program that cannot say by its first line has nobody to wait for.
type unknown struct {
	tcp.Lines
	port *port
	conn *conn
}

// Framing is that of lines, which the client turns out to speak.
func (u *unknown) Framing(handlers.Codec) handlers.Framing { return u.Lines.Framing(&u.Lines) }

// Decode classifies the first bytes.
func (u *unknown) Decode(in []byte, m *handlers.Messages) (int, error) {
	if len(in) == 0 {
		return 0, nil
	}
	r, _, err := u.port.judge(u.conn, in, m.EOF, bytes.IndexByte(in, '\n') >= 0)
	switch {
	case err != nil:
		return 0, err
	case r == nil && len(in) < matchers.Window:
		return 0, nil
	case r != u.port.named.unmatched:
		return 0, fmt.Errorf("%w: a client that was spoken to first has answered in another protocol", handlers.ErrProtocol)
	}
	m.Next = u.port.lines.Codec(u.conn.Info())
	return 0, nil
}
