package loop

import (
	"errors"
	"io"
	"net"
	"time"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/internal/guarded"
)

// A Source is a connection that can be had in a cheaper form than a net.Conn.
type Source interface {
	Transport() (Transport, error)
}

// Transport is what the goroutine driver needs of a connection.
type Transport interface {
	Read(p []byte) (int, error)
	Write(p []byte) (int, error)
	Close() error
	CloseWrite() error
	SetDeadline(t time.Time) error
	SetReadDeadline(t time.Time) error
	SetWriteDeadline(t time.Time) error
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

// transportLocked makes the connection readable and writable at the first call.
func (c *goConn) transportLocked() error {
	switch {
	case c.rw != nil:
		return nil
	case c.broken:
		return net.ErrClosed
	}
	var rw Transport
	err := guarded.Call(func() (err error) {
		rw, err = transport(c.src)
		return err
	})
	if err != nil {
		c.breakLocked(err)
		return err
	}
	c.rw = guardTransport(rw)
	return nil
}

// cutError is err, of a Read of c, unless that is an [io.EOF] which was no end in good order: the
// stream below a layer of TLS has ended, without a close_notify (RFC 8446, section 6.1).
func cutError(c any, err error) error {
	if !errors.Is(err, io.EOF) {
		return err
	}
	for ; c != nil; c = below(c) {
		if s, ok := c.(*handlers.Switch); ok && s.EOF() {
			return io.ErrUnexpectedEOF
		}
	}
	return err
}

// below is what a layer of a connection stands on; nil if it is none.
func below(c any) any {
	switch c := c.(type) {
	case *guardedTransport:
		return c.t
	case noHalfClose:
		return c.Conn
	case *handlers.Switch:
		return c.Current()
	case interface{ NetConn() net.Conn }:
		return c.NetConn()
	}
	return nil
}

// noHalfClose is for a net.Conn that cannot close one direction: the end of what we send is told by
// closing it.
type noHalfClose struct{ net.Conn }

func (c noHalfClose) CloseWrite() error { return nil }
