package httpd

import (
	"io"
	"net"
	"time"
)

// How long, and how much, a client may go on sending a body that we do not want, until it has seen our answer.
const (
	lingerTime  = 500 * time.Millisecond
	lingerBytes = 16 << 20
)

// hangUp closes a connection that the client may still be sending on: first our half, then, when it has closed its own, the
// rest. A reset would cost it the answer (RFC 9112, section 9.6). net/http calls it in the goroutine of the connection.
func hangUp(nc net.Conn) {
	defer nc.Close()
	c, ok := nc.(interface{ CloseWrite() error })
	if !ok || c.CloseWrite() != nil {
		return
	}
	if nc.SetReadDeadline(time.Now().Add(lingerTime)) != nil {
		return
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(nc, lingerBytes))
}
