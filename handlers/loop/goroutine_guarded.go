package loop

import (
	"net"
	"time"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/internal/guarded"
)

// guardTransport wraps t so that a panic in one of its methods becomes the error of that method.
// The program may have made the connection, or a layer below it, and the loop calls it in its own
// goroutines. guardTransport returns sockets unchanged.
func guardTransport(t Transport) Transport {
	switch t.(type) {
	case *net.TCPConn, *net.UnixConn, *fileConn:
		return t
	}
	return &guardedTransport{t}
}

type guardedTransport struct{ t Transport }

func (g *guardedTransport) Read(p []byte) (n int, err error) {
	err = guarded.Call(func() (err error) {
		n, err = g.t.Read(p)
		return err
	})
	return guarded.Counted(n, p, err)
}

func (g *guardedTransport) Write(p []byte) (n int, err error) {
	err = guarded.Call(func() (err error) {
		n, err = g.t.Write(p)
		return err
	})
	return guarded.Counted(n, p, err)
}

func (g *guardedTransport) Close() error      { return guarded.Call(g.t.Close) }
func (g *guardedTransport) CloseWrite() error { return guarded.Call(g.t.CloseWrite) }

func (g *guardedTransport) SetDeadline(at time.Time) error {
	return guarded.Call(func() error { return g.t.SetDeadline(at) })
}

func (g *guardedTransport) SetReadDeadline(at time.Time) error {
	return guarded.Call(func() error { return g.t.SetReadDeadline(at) })
}

func (g *guardedTransport) SetWriteDeadline(at time.Time) error {
	return guarded.Call(func() error { return g.t.SetWriteDeadline(at) })
}

// closeSource closes the underlying connection. It ignores a panic of Close.
func (c *goConn) closeSource() {
	c.mu.Lock()
	src := c.src
	c.mu.Unlock()
	_ = handlers.Guard(func() { src.Close() })
}
