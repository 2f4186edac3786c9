// Package linger ends a connection so that the peer gets the last bytes. Closing a socket with
// unread bytes resets the connection, and the peer could lose what it has yet to read (RFC 9112,
// section 9.6).
package linger

import (
	"io"
	"net"
	"time"

	"github.com/portluck/portluck/handlers"
)

// End closes the sending side of nc and drops what the peer still sends, as Drop does. It returns
// at once if nc cannot close one side. The caller closes nc.
func End(nc net.Conn, d time.Duration, n int64) {
	if handlers.CloseWrite(nc) == nil {
		_, _ = Drop(nc, d, n)
	}
}

// A Reader is the part of a connection that Drop uses.
type Reader interface {
	io.Reader
	SetReadDeadline(t time.Time) error
}

// Drop reads and drops what the peer sends, for d and up to n bytes. It returns the number of bytes
// and the error that ended it, which is nil after n bytes.
func Drop(r Reader, d time.Duration, n int64) (int64, error) {
	if err := r.SetReadDeadline(time.Now().Add(d)); err != nil {
		return 0, err
	}
	return io.CopyN(io.Discard, r, n)
}
