package tlsd

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"time"

	"github.com/portluck/portluck/handlers"
)

const (
	lingerTime  = time.Second
	lingerBytes = 256 << 10
)

// refuse has the last word after a failed handshake, and makes sure that it is not lost. Mostly
// that is the alert that crypto/tls has sent; those who do not speak TLS get none.
func refuse(nc net.Conn, err error) {
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, handlers.ErrShutdown) || errors.Is(err, io.EOF) {
		return // nobody listens, or it is closed already
	}
	if e, ok := errors.AsType[tls.RecordHeaderError](err); ok && e.Conn != nil && likeHTTP(e.RecordHeader[:]) {
		if _, err := nc.Write(appendPlainAnswer(nil, e.RecordHeader[:])); err != nil {
			return
		}
	}
	linger(nc)
}

// likeHTTP reports whether b is the beginning of a request of a usual method.
func likeHTTP(b []byte) bool {
	switch string(b) {
	case "GET /", "HEAD ", "POST ", "PUT /", "PATCH", "DELET", "OPTIO", "PRI *":
		return true
	}
	return false
}

// linger ends our half of the connection and swallows, for a moment, what the peer still sends:
// closing with unread bytes would reset the connection, and the peer would lose our last words (RFC
// 9112, section 9.6).
func linger(nc net.Conn) {
	w, ok := nc.(interface{ CloseWrite() error })
	if !ok || w.CloseWrite() != nil {
		return
	}
	if nc.SetReadDeadline(time.Now().Add(lingerTime)) == nil {
		_, _ = io.CopyN(io.Discard, nc, lingerBytes)
	}
}
