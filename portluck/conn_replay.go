package portluck

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"syscall"

	"github.com/portluck/portluck/handlers"
)

// replayConn replays the bytes that were read to classify a connection, then reads from it. It has
// the methods that servers look for: ReadFrom (sendfile), CloseWrite, SyscallConn. It has no
// WriteTo, which would skip the first bytes.
type replayConn struct {
	net.Conn
	prefix []byte
	err    error // returned by Read after prefix
}

// Read reads the first bytes, then from the connection.
func (r *replayConn) Read(p []byte) (int, error) {
	if len(r.prefix) > 0 {
		n := copy(p, r.prefix)
		if r.prefix = r.prefix[n:]; len(r.prefix) == 0 {
			r.prefix = nil
		}
		return n, nil
	}
	if r.err != nil {
		return 0, r.err
	}
	return r.Conn.Read(p)
}

// NetConn returns the connection below, without the first bytes.
func (r *replayConn) NetConn() net.Conn { return r.Conn }

// form returns the connection below and the first bytes. An error that Read would return comes from
// the connection again.
func (r *replayConn) form() handlers.Socket { return handlers.Socket{Conn: r.Conn, Unread: r.prefix} }

// ReadFrom copies from src with the fastest method of the connection.
func (r *replayConn) ReadFrom(src io.Reader) (int64, error) { return io.Copy(r.Conn, src) }

// CloseWrite sends FIN if the connection can.
func (r *replayConn) CloseWrite() error {
	if err := handlers.CloseWrite(r.Conn); !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	return nil
}

// SyscallConn returns the raw connection, or [errors.ErrUnsupported].
func (r *replayConn) SyscallConn() (syscall.RawConn, error) {
	if c, ok := r.Conn.(syscall.Conn); ok {
		return c.SyscallConn()
	}
	return nil, errors.ErrUnsupported
}

// replayTLS is a *tls.Conn some of whose first bytes were read. It keeps the methods that servers
// look for: ConnectionState, by which net/http knows that it is secure, NetConn and CloseWrite.
type replayTLS struct {
	*tls.Conn
	in *replayConn
}

// Read reads the first bytes, then from the connection.
func (r *replayTLS) Read(p []byte) (int, error) { return r.in.Read(p) }
