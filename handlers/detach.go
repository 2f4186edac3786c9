package handlers

import (
	"io"
	"net"
)

// A Detacher is a [Conn] whose socket the handler can use for less than the net.Conn of NetConn
// costs, and can keep after it has dropped the Conn. The connections of a port are Detachers, and
// [AsDetacher] makes one of any other Conn. A handler that wraps a Conn embeds its Detacher, so
// that none of this is lost, and overrides Close and Detach. Several goroutines may call the
// methods of a Detacher at once, but only the handler that owns the Conn calls Detach.
type Detacher interface {
	Conn
	// Socket returns the socket in the form that it has now. It changes nothing.
	Socket() Socket
	// LazyNetConn returns a net.Conn that makes the net.Conn of NetConn only when it first has to
	// wait for the peer, or when NetConn is called, and uses it from then on. If that saves
	// nothing, LazyNetConn is like NetConn. It must be called only once.
	LazyNetConn() (net.Conn, error)
	// Detach leaves the socket that Socket or NetConn has returned to the caller, who must close
	// it. The caller then closes place, once, to free the MaxConns slot. From then on Close does
	// nothing, and no other method but Info may be called. If the Conn is closed, Detach returns
	// [net.ErrClosed], and the socket is not the caller's.
	Detach() (place io.Closer, err error)
}

// A Socket is what a connection is made of.
type Socket struct {
	// Conn is a net.Conn of package net or crypto/tls, or the program's own. It is nil if the
	// socket is a bare descriptor, which Go's poller does not know.
	Conn net.Conn
	// FD is the descriptor if Conn is nil. It is -1 if the connection is closed or broken.
	FD int
	// Unread holds bytes that were read from Conn already. The handler must take them before those
	// that Conn returns.
	Unread []byte
}

// AsDetacher returns c if it is a [Detacher]. Otherwise it returns a Detacher that uses the
// net.Conn of c for everything, and whose place closes c.
func AsDetacher(c Conn) Detacher {
	if d, ok := c.(Detacher); ok {
		return d
	}
	return detacher{c}
}

type detacher struct{ Conn }

func (d detacher) Socket() Socket {
	nc, err := d.NetConn()
	if err != nil {
		return Socket{FD: -1}
	}
	return Socket{Conn: nc}
}

func (d detacher) LazyNetConn() (net.Conn, error) { return d.NetConn() }
func (d detacher) Detach() (io.Closer, error)     { return d.Conn, nil }

// Wrap returns the Detacher of an inner layer of outer. nc is its net.Conn and info describes it.
// Its Close closes nc, then outer. outer is nil if the connection belongs to no port.
func Wrap(outer Conn, nc net.Conn, info *Info) Detacher {
	return &wrapped{outer: outer, nc: nc, info: info}
}

type wrapped struct {
	outer Conn
	nc    net.Conn
	info  *Info
}

func (w *wrapped) Info() *Info                    { return w.info }
func (w *wrapped) NetConn() (net.Conn, error)     { return w.nc, nil }
func (w *wrapped) LazyNetConn() (net.Conn, error) { return w.nc, nil }
func (w *wrapped) Socket() Socket                 { return Socket{Conn: w.nc} }

func (w *wrapped) Detach() (io.Closer, error) {
	if w.outer == nil {
		return noPlace{}, nil
	}
	return AsDetacher(w.outer).Detach()
}

func (w *wrapped) Close() error {
	err := w.nc.Close()
	if w.outer != nil {
		w.outer.Close()
	}
	return err
}

// noPlace is the place of a connection that belongs to no port.
type noPlace struct{}

func (noPlace) Close() error { return nil }
