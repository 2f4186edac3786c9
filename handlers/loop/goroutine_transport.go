package loop

import (
	"errors"
	"io"
	"net"
	"time"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/internal/guarded"
)

// A Transport is the part of a connection that the goroutine driver uses.
type Transport interface {
	Read(p []byte) (int, error)
	Write(p []byte) (int, error)
	Close() error
	CloseWrite() error
	SetDeadline(t time.Time) error
	SetReadDeadline(t time.Time) error
	SetWriteDeadline(t time.Time) error
}

// openLocked makes the transport of c. A bare descriptor becomes the connection's own.
func (c *goConn) openLocked() (Transport, error) {
	src := handlers.AsDetacher(c.src)
	if s := src.Socket(); s.Conn == nil && s.FD >= 0 {
		place, err := src.Detach()
		if err != nil {
			return nil, err
		}
		f := &fileConn{File: NewFile(s.FD), info: src.Info(), place: place}
		c.src = (*fileSource)(f)
		return f, nil
	}
	nc, err := src.NetConn()
	if err != nil {
		return nil, err
	}
	if t, ok := nc.(Transport); ok {
		return t, nil
	}
	return noHalfClose{nc}, nil
}

// transportLocked opens the connection for reading and writing, if that has not been done. If it
// fails, the connection is broken.
func (c *goConn) transportLocked() error {
	switch {
	case c.rw != nil:
		return nil
	case c.broken:
		return net.ErrClosed
	}
	var rw Transport
	err := guarded.Call(func() (err error) {
		rw, err = c.openLocked()
		return err
	})
	if err != nil {
		c.breakLocked(err)
		return err
	}
	c.rw = guardTransport(rw)
	return nil
}

// cutError returns err, the error of a Read of c, but replaces an [io.EOF] that is not an orderly
// end with [io.ErrUnexpectedEOF]: the stream below a TLS layer has ended without a close_notify
// (RFC 8446, section 6.1).
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

// below returns the connection under the layer c, or nil if c is not a layer.
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

// noHalfClose wraps a net.Conn that cannot close one direction. Its CloseWrite does nothing: Close
// tells the peer that we send no more.
type noHalfClose struct{ net.Conn }

func (c noHalfClose) CloseWrite() error { return nil }
