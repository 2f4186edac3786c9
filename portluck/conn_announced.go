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

// announced is a raw client whose connection has not shown its protocol yet.
type announced struct {
	loop.Conn
	session *hub.Session
	login   *handlers.Login
}

// adopt makes the loop drive the connection with codec, once it has turned out to be raw. info
// replaces the client's Info: a PROXY header may have changed it.
func (a *announced) adopt(codec handlers.Codec, info *Info) {
	if a.login != nil {
		own := *info
		own.Login = a.login
		info = &own
	}
	a.session.SetInfo(info)
	a.Adopt(codec)
}

// announce makes a raw client of a connection that was silent for SniffTimeout, once OnHandshake
// has admitted it. The connection is still sniffed, without a goroutine, until it shows its
// protocol or the program writes to it.
func (p *port) announce(c *conn, where loop.Parking) {
	p.stats.silent.Add(1)
	c.info.Route = RouteSilent
	if c.info.Protocol == handlers.ProtocolTLS {
		c.info.Protocol = handlers.ProtocolTCP // a raw client, until it shows another protocol
	}
	a := handlers.Attachment{Codec: &unknown{port: p, conn: c}}
	asks := p.asks()
	if asks || c.info.Remote.Addr().Zone() != "" { // others would keep c.info, which may still change
		info := c.info
		a.Info = &info
	}
	if !asks {
		p.announceAs(c, a, where)
		return
	}
	p.Go(func() { // ends with OnHandshake
		if err := p.askAbout(a.Info, &a); err == nil {
			p.announceAs(c, a, where)
		} else if run := p.start(c, a, err); run != nil {
			go run() // ends with the connection; Shutdown waits for it
		}
	})
}

func (p *port) announceAs(c *conn, a handlers.Attachment, where loop.Parking) {
	session, lc := p.newSession(c, a)
	c.pending = &announced{lc, session, infoOf(c, a).Login}
	lc.StartParked(session, where)
}

// retires reports whether c was announced as a raw client but its first bytes, although
// incomplete, belong to another protocol.
func (c *conn) retires() bool { return c.chosen != nil && c.pending != nil }

// retire ends the raw client of a connection that turned out to speak another protocol. If the
// program already sent bytes to the client, retire closes the connection and returns false: the
// peer would take them for an answer in its protocol.
func (p *port) retire(c *conn) bool {
	old := c.pending
	c.pending = nil
	if old.Retire() {
		return true
	}
	c.Close()
	return false
}

// unknown is the codec of a silent client to which the program has written. Such a client must
// turn out to be raw. Routes of the program that are still undecided after the first line are
// passed over.
type unknown struct {
	raw.Lines
	port *port
	conn *conn
}

// Framing returns the framing of lines: the client must turn out to be raw.
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
