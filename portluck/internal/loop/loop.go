// Package loop drives attached connections: it reads, has the codec decode, raises the events and writes the replies.
//
// This driver has a goroutine for each connection and works on any system.
package loop

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/portluck/portluck/handlers"
)

// Bounds of every connection.
const (
	firstRead  = 4 << 10  // the read buffer of a new connection
	keepRead   = 32 << 10 // a larger one is given up once it is empty
	flushAt    = 64 << 10 // replies of one turn that are sent before the turn ends
	lingerTime = time.Second
	lingerMax  = 256 << 10 // unread bytes swallowed so that the last reply is not lost by a reset
	closeWait  = 5 * time.Second
)

// Events is what a connection tells its client. One goroutine at a time calls it.
type Events interface {
	// Connect announces the client: at once, or when the codec's handshake is complete.
	Connect(info *handlers.Info) error
	// Message delivers one message. The error ends the connection.
	Message(m handlers.Message) error
	// Disconnect is called once, at the end, whether the client was connected or not.
	Disconnect(err error)
}

// A Loop drives connections. Its fields are set before the first New. Its methods may be called by any goroutine.
type Loop struct {
	// Timeout is how long a connection may be idle; none if zero or negative.
	Timeout time.Duration
	// HandshakeTimeout bounds the handshake of a codec that has one; none if zero or negative.
	HandshakeTimeout time.Duration
	// MaxQueue is how many bytes may wait for a client that does not read; 1 MiB if zero.
	MaxQueue int

	wg sync.WaitGroup

	mu      sync.Mutex
	closing bool
	conns   map[*Conn]struct{}
}

// A Source is a connection that can be had in a cheaper form than a net.Conn.
type Source interface {
	Transport() (Transport, error)
}

// Transport is what the driver needs of a connection.
type Transport interface {
	Read(p []byte) (int, error)
	Write(p []byte) (int, error)
	Close() error
	CloseWrite() error
	SetDeadline(t time.Time) error
	SetReadDeadline(t time.Time) error
	SetWriteDeadline(t time.Time) error
}

// New prepares c for being driven. Nothing happens before [Conn.Start].
func (l *Loop) New(c handlers.Conn, a handlers.Attachment) *Conn {
	lc := &Conn{loop: l, src: c, codec: a.Codec, info: a.Info, handshake: a.Handshake, unread: a.Unread}
	if lc.info == nil {
		lc.info = c.Info()
	}
	lc.cond.L = &lc.mu
	return lc
}

// Shutdown says goodbye to every connection, in an even flow over spread, and waits for all of them to end. When ctx
// ends first it closes what is left and returns the error of ctx. No connection can be started after.
func (l *Loop) Shutdown(ctx context.Context, spread time.Duration) error {
	all := l.refuse()
	for i, c := range all {
		if spread > 0 && i > 0 && i%16 == 0 {
			pause(ctx, spread*16/time.Duration(len(all)))
		}
		c.halt()
	}
	done := make(chan struct{})
	go func() { // ends when the last connection has
		l.wg.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		l.Close()
		<-done
		return ctx.Err()
	}
}

// Close closes every connection at once. It does not wait for the callbacks.
func (l *Loop) Close() {
	for _, c := range l.refuse() {
		c.abort(handlers.ErrShutdown)
	}
}

// Wait waits until every connection has ended.
func (l *Loop) Wait() { l.wg.Wait() }

// Len returns how many connections are driven now.
func (l *Loop) Len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.conns)
}

func (l *Loop) refuse() []*Conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closing = true
	all := make([]*Conn, 0, len(l.conns))
	for c := range l.conns {
		all = append(all, c)
	}
	return all
}

// add admits c, unless the loop is closing.
func (l *Loop) add(c *Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closing {
		return false
	}
	if l.conns == nil {
		l.conns = map[*Conn]struct{}{}
	}
	l.conns[c] = struct{}{}
	l.wg.Add(1)
	return true
}

func (l *Loop) remove(c *Conn) {
	l.mu.Lock()
	delete(l.conns, c)
	l.mu.Unlock()
	l.wg.Done()
}

func (l *Loop) maxQueue() int {
	if l.MaxQueue == 0 {
		return 1 << 20
	}
	return l.MaxQueue
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

func transport(c handlers.Conn) (Transport, error) {
	if s, ok := c.(Source); ok {
		return s.Transport()
	}
	nc, err := c.NetConn()
	if err != nil {
		return nil, err
	}
	return NetTransport(nc), nil
}

// NetTransport is the transport of a net.Conn.
func NetTransport(nc net.Conn) Transport {
	if t, ok := nc.(Transport); ok {
		return t
	}
	return noHalfClose{nc}
}

// noHalfClose is for a net.Conn that cannot close one direction: the end of what we send is told by closing it.
type noHalfClose struct{ net.Conn }

func (c noHalfClose) CloseWrite() error { return nil }
