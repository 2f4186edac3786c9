package httpd

import (
	"errors"
	"io"
	"net"
	"os"
	"time"
)

// How long, and how much, a client may go on sending a body that we do not want, until it has seen
// our answer.
const (
	lingerTime  = 500 * time.Millisecond // once it has acknowledged the answer
	lingerStall = 10 * time.Second       // without acknowledging more of it
	lingerMost  = 2 * time.Minute        // in all
	lingerBytes = 16 << 20
	lingerHead  = 1 << 20 // of a head that is refused
)

// hangUp closes a connection that the client may still be sending on: first our half, then, when it
// has closed its own, the rest. A reset would cost it the answer (RFC 9112, section 9.6). net/http
// calls it in the goroutine of the connection.
func hangUp(nc net.Conn) {
	defer nc.Close()
	if c, ok := nc.(interface{ CloseWrite() error }); ok && c.CloseWrite() == nil {
		linger(nc, lingerBytes, unsent)
	}
}

// linger reads and drops up to left bytes that the client sends, until it has closed its half, or
// has had its time to read what unsent says that it has not acknowledged.
func linger(nc net.Conn, left int64, unsent func(net.Conn) int) {
	last, began := 0, time.Now()
	progress := began
	for left > 0 {
		if nc.SetReadDeadline(time.Now().Add(lingerTime)) != nil {
			return
		}
		n, err := io.Copy(io.Discard, io.LimitReader(nc, left))
		left -= n
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return
		}
		now, more := time.Now(), unsent(below(nc))
		switch {
		case more == 0 && last == 0, now.Sub(began) >= lingerMost:
			return
		case more < last || last == 0:
			progress = now
		case now.Sub(progress) >= lingerStall:
			return
		}
		last = more
	}
}
