package portluck

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"syscall"
)

// replayConn gives back the bytes that were read to classify a connection, then is the connection.
// It keeps what servers look for in one: ReadFrom (sendfile), CloseWrite, SyscallConn. It has no
// WriteTo: that would pass the first bytes by.
type replayConn struct {
	net.Conn
	prefix []byte
	err    error // after prefix
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

// NetConn is the connection below. Its first bytes are gone.
func (r *replayConn) NetConn() net.Conn { return r.Conn }

// Replay is [loop.Replayer.Replay]. The error comes again.
func (r *replayConn) Replay() (nc net.Conn, unread []byte) {
	unread, r.prefix = r.prefix, nil
	return r.Conn, unread
}

// ReadFrom copies from src with whatever the connection has for it.
func (r *replayConn) ReadFrom(src io.Reader) (int64, error) { return io.Copy(r.Conn, src) }

// CloseWrite sends FIN where the connection can.
func (r *replayConn) CloseWrite() error {
	if c, ok := r.Conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return nil
}

// SyscallConn is the connection's own.
func (r *replayConn) SyscallConn() (syscall.RawConn, error) {
	if c, ok := r.Conn.(syscall.Conn); ok {
		return c.SyscallConn()
	}
	return nil, errors.ErrUnsupported
}

// replayTLS is a *tls.Conn some of whose first bytes were read. It keeps all else that servers look
// for in one: ConnectionState, which makes it secure to net/http, NetConn, CloseWrite.
type replayTLS struct {
	*tls.Conn
	in *replayConn
}

// Read reads the first bytes, then from the connection.
func (r *replayTLS) Read(p []byte) (int, error) { return r.in.Read(p) }

// Replay is [loop.Replayer.Replay].
func (r *replayTLS) Replay() (nc net.Conn, unread []byte) { return r.in.Replay() }
