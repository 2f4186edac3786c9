package tlsd

import (
	"errors"
	"io"
	"net"
	"os"
	"time"
)

const (
	lingerTime  = time.Second
	lingerBytes = 256 << 10
)

// refuse makes sure that the alert of a failed handshake is not lost. crypto/tls has sent it.
func refuse(nc net.Conn, err error) {
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, io.EOF) {
		return // there was none
	}
	linger(nc)
}

// linger ends our half of the connection and swallows, for a moment, what the peer still sends: closing with unread
// bytes would reset the connection, and the peer would lose our last words (RFC 9112, section 9.6).
func linger(nc net.Conn) {
	w, ok := nc.(interface{ CloseWrite() error })
	if !ok || w.CloseWrite() != nil {
		return
	}
	if nc.SetReadDeadline(time.Now().Add(lingerTime)) == nil {
		_, _ = io.CopyN(io.Discard, nc, lingerBytes)
	}
}
