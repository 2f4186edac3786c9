package portluck

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/loop"
	"github.com/portluck/portluck/handlers/raw"
	"github.com/portluck/portluck/matchers"
	"github.com/portluck/portluck/portluck/hub"
)

// announced is a raw client whose connection has not shown its protocol yet. The loop drives the
// connection, of which unknown is the codec until the first bytes decide. announced gets the events
// and is the stream of the client, to notice what is sent to it.
type announced struct {
	loop.Conn
	session *hub.Session
	port    *port
	next    *conn       // classifies the first bytes; nil before they come and once they are raw
	said    atomic.Bool // the client was sent something, or ended
	over    atomic.Bool // the protocol is known, or the connection is ending
}

// announce makes a raw client of a connection that was silent for SniffTimeout, once OnHandshake
// has admitted it.
func (p *port) announce(c *conn) {
	p.stats.silent.Add(1)
	info := c.info // c goes once the loop has the connection
	info.Route = RouteSilent
	if info.Protocol == handlers.ProtocolTLS {
		info.Protocol = handlers.ProtocolTCP // a raw client, until it shows another protocol
	}
	if !p.asks() {
		p.announceAs(c, &info)
		return
	}
	p.Go(func() { // ends with OnHandshake
		a := handlers.Attachment{Codec: p.lines.Codec(&info), Info: &info}
		if err := p.askAbout(&info, &a); err == nil {
			p.announceAs(c, a.Info)
		} else if run := p.start(c, a, err); run != nil {
			go run() // ends with the connection; Shutdown waits for it
		}
	})
}

func (p *port) announceAs(c *conn, info *Info) {
	a := &announced{port: p}
	a.Conn = p.loop.NewIdle(c, handlers.Attachment{Codec: unknown{a}, Info: info})
	b, _ := p.bindingOf(info) // the client was refused if HubOf panics
	a.session = b.NewSession(info, a)
	if p.isClosing() { // a shutdown need not wait for what it says
		a.over.Store(true)
	} else {
		p.unknown.Add(1)
	}
	if run := a.Start(a); run != nil {
		go run() // ends after the first turn or with the connection; Loop.Wait waits for it
	}
}

// isUnknown reports whether ev are those of a client whose connection has not shown its protocol.
func isUnknown(ev loop.Events) bool {
	a, ok := ev.(*announced)
	return ok && !a.over.Load()
}

// settle records that the protocol is known, or that the connection is ending.
func (a *announced) settle() {
	if !a.over.Swap(true) {
		a.port.unknown.Add(-1)
	}
}

// Connect is [loop.Events.Connect].
func (a *announced) Connect(info *Info) error { return a.session.Connect(info) }

// Message is [loop.Events.Message].
func (a *announced) Message(m Message) error { return a.session.Message(m) }

// LogPanic is [loop.PanicLogger.LogPanic].
func (a *announced) LogPanic(err error) { a.session.LogPanic(err) }

// Disconnect is [loop.Events.Disconnect]. If the connection goes on under another protocol, it does
// not wait for the callback.
func (a *announced) Disconnect(err error) {
	if a.leaves() {
		a.port.Go(func() { a.session.Disconnect(err) })
		return
	}
	a.settle()
	a.session.Disconnect(err)
}

// Woken is [loop.Waker.Woken]. Unless the program has sent something, the first bytes have
// SniffTimeout to decide, and a moment to be read in case the process was stalled.
func (a *announced) Woken(_ time.Duration, m *handlers.Messages) (again time.Duration) {
	c := a.next
	if c == nil || a.leaves() || a.said.Load() {
		return 0
	}
	switch left := a.port.srv.sniffTimeout() - time.Since(c.since); {
	case left > 0:
		return left
	case !c.graced:
		c.graced = true
		c.since = c.since.Add(lastLook - left)
		return lastLook
	}
	m.Next = unknown{a}
	return 0
}

// Feed is [loop.Conn.Feed].
func (a *announced) Feed(p []byte, f loop.FrameSource) (int, error) {
	a.said.Store(true)
	return a.Conn.Feed(p, f)
}

// Destroy is [handlers.Stream.Destroy].
func (a *announced) Destroy() {
	a.said.Store(true)
	a.Conn.Destroy()
}

// TLSConn returns the TLS layer of the connection, or nil if there is none.
func (a *announced) TLSConn() *tls.Conn {
	if s, ok := a.Conn.(interface{ TLSConn() *tls.Conn }); ok {
		return s.TLSConn()
	}
	return nil
}

// unknown is the codec of an announced client until the first bytes decide.
type unknown struct{ *announced }

var (
	_     handlers.Framer = unknown{}
	_     loop.Waker      = (*announced)(nil)
	plain raw.Lines       // whose messages a client of unknown protocol gets
)

// Decode classifies the first bytes. If they are not raw, the connection leaves the loop, unless
// the program has sent something, which the client would take for an answer.
func (u unknown) Decode(in []byte, m *handlers.Messages) (int, error) {
	if len(in) == 0 {
		if m.EOF && !u.said.Load() {
			m.Next = u.raw(in)
		}
		return 0, nil
	}
	r, err := u.judge(in[:min(len(in), matchers.Window)], m.EOF)
	switch {
	case err != nil:
		u.settle()
		return 0, err
	case r == u.port.named.unmatched:
		m.Next = u.raw(in)
		return 0, nil
	case r == nil && u.next.chosen == nil:
		return 0, nil
	case u.said.Load():
		return 0, errSpoken
	}
	u.leave(r, in, m)
	return len(in), nil
}

var errSpoken = fmt.Errorf("%w: a client that was spoken to first has answered in another protocol", handlers.ErrProtocol)

// first returns the conn that classifies the first bytes.
func (a *announced) first() *conn {
	if a.next == nil {
		a.next = &conn{port: a.port, info: *a.session.Client().Info(), sniffing: &sniffing{}}
	}
	return a.next
}

// judge returns the route that the first bytes b belong to. If it is nil, the route is chosen but
// its opening incomplete, or nothing is known.
func (a *announced) judge(b []byte, eof bool) (*route, error) {
	c, p := a.first(), a.port
	c.seen = len(b)
	r, _, err := p.look(c, b, eof)
	said, patience := a.said.Load(), p.srv.sniffTimeout()
	switch {
	case r != nil || err != nil || c.chosen != nil:
		return r, err
	case said && bytes.IndexByte(b, '\n') >= 0:
		return p.passOver(c, b)
	case said || patience <= 0:
	case c.since.IsZero():
		c.since = time.Now()
		a.Wake(patience)
	case c.graced && time.Since(c.since) >= patience:
		return p.decideLate(c, b)
	}
	return nil, nil
}

// raw returns the codec of the client, which has turned out to be raw.
func (a *announced) raw(in []byte) handlers.Codec {
	c, p := a.first(), a.port
	a.settle()
	c.decided(p.named.unmatched, in)
	p.verdict(c)
	a.next = nil
	info := c.info
	a.session.SetInfo(&info)
	return p.lines.Codec(&info)
}

// leave takes the connection, of which first was read, out of the loop. r is nil if it is not known
// yet.
func (a *announced) leave(r *route, first []byte, m *handlers.Messages) {
	in := &replayConn{prefix: bytes.Clone(first)}
	if m.EOF {
		in.err = io.EOF
	}
	a.next.sock = replayed{in}
	a.next.info.Login = nil // of the client that ends
	m.Hijack = func(nc net.Conn) {
		defer a.settle()
		c := a.next
		a.next = nil
		left, ok := nc.(hijacked)
		if !ok {
			return
		}
		in.Conn = left.NetConn()
		switch {
		case a.said.Load():
			nc.Close() // what was sent would be taken for an answer
		case !a.port.regain(c, left):
		case r == nil:
			a.port.sniffReader(c)
		default:
			a.port.dispatch(c, r, in.prefix)
		}
	}
}

// leaves reports whether the connection is leaving the loop.
func (a *announced) leaves() bool { return a.next != nil && a.next.sock != nil }

// AppendWrite is [handlers.Codec.AppendWrite].
func (u unknown) AppendWrite(dst, p []byte, k handlers.Kind) []byte {
	u.said.Store(true)
	return plain.AppendWrite(dst, p, k)
}

// AppendMessage is [handlers.Codec.AppendMessage].
func (u unknown) AppendMessage(dst, msg []byte, k handlers.Kind) []byte {
	u.said.Store(true)
	return plain.AppendMessage(dst, msg, k)
}

// AppendClose is [handlers.Codec.AppendClose]. A client whose first bytes were refused gets no
// farewell: its protocol is not known.
func (u unknown) AppendClose(dst []byte, reason error) []byte {
	if u.over.Load() && !u.said.Load() {
		return dst
	}
	u.said.Store(true)
	u.settle()
	return plain.AppendClose(dst, reason)
}

// Framing is [handlers.Framer.Framing]: that of lines.
func (u unknown) Framing(handlers.Codec) handlers.Framing { return plain.Framing(&plain) }

// hijacked is a connection that has left the loop.
type hijacked interface {
	net.Conn
	NetConn() net.Conn
	Detach() (place io.Closer, err error)
}

// regain gives c the place of left. If left is closed, regain returns false.
func (p *port) regain(c *conn, left hijacked) bool {
	place, _ := left.Detach()
	switch place := place.(type) {
	case *share:
		c.share = place
		p.limits.list(c)
	case handlers.Conn: // the loop had it as such
		c.outer = place
	default:
		left.Close()
		return false
	}
	return true
}
