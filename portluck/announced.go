package portluck

import (
	"bytes"
	"fmt"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/loop"
	"github.com/portluck/portluck/handlers/raw"
	"github.com/portluck/portluck/matchers"
	"github.com/portluck/portluck/portluck/hub"
)

// announced is the client of a connection that has not shown its protocol.
type announced struct {
	loop.Conn
	session *hub.Session
}

// adopt makes a raw connection of it. Its info may be that of a PROXY header by now.
func (a *announced) adopt(codec handlers.Codec, info *Info) {
	a.session.SetInfo(info)
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
	session, lc := p.newSession(c, a)
	c.pending = &announced{lc, session}
	lc.StartParked(session, where)
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
	raw.Lines
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
