package loop

import (
	"errors"
	"io"
	"net"
	"time"

	"github.com/portluck/portluck/handlers"
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

// cutError is err, of a Read of c, unless that is an [io.EOF] which was no end in good order: the stream below a layer of TLS
// has ended, without a close_notify (RFC 8446, section 6.1).
func cutError(c any, err error) error {
	for errors.Is(err, io.EOF) {
		switch below := c.(type) {
		case *handlers.Switch:
			if below.EOF() {
				return io.ErrUnexpectedEOF
			}
			return err
		case noHalfClose:
			c = below.Conn
		case interface{ NetConn() net.Conn }:
			c = below.NetConn()
		default:
			return err
		}
	}
	return err
}

// noHalfClose is for a net.Conn that cannot close one direction: the end of what we send is told by closing it.
type noHalfClose struct{ net.Conn }

func (c noHalfClose) CloseWrite() error { return nil }
