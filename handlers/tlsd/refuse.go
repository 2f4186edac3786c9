package tlsd

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"time"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/internal/linger"
)

const (
	lingerTime  = time.Second
	lingerBytes = 256 << 10
)

// refuse makes sure that the peer gets the last bytes after a failed handshake. Mostly they are the
// alert that crypto/tls has sent. A peer that speaks plain HTTP gets an HTTP response instead.
func refuse(nc net.Conn, err error) {
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, handlers.ErrShutdown) || errors.Is(err, io.EOF) {
		return // the peer does not read, or nc is already closed
	}
	if e, ok := errors.AsType[tls.RecordHeaderError](err); ok && e.Conn != nil && likeHTTP(e.RecordHeader[:]) {
		if _, err := nc.Write(appendPlainAnswer(nil, e.RecordHeader[:])); err != nil {
			return
		}
	}
	linger.End(nc, lingerTime, lingerBytes)
}

// likeHTTP reports whether b is the beginning of an HTTP request with a common method.
func likeHTTP(b []byte) bool {
	switch string(b) {
	case "GET /", "HEAD ", "POST ", "PUT /", "PATCH", "DELET", "OPTIO", "PRI *":
		return true
	}
	return false
}
