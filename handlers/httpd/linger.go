package httpd

import (
	"errors"
	"net"
	"os"
	"time"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/internal/linger"
)

// Bounds of the time and the bytes for which a client may go on sending an unwanted body, until it
// has seen the answer.
const (
	lingerTime  = 500 * time.Millisecond // once it has acknowledged the answer
	lingerStall = 10 * time.Second       // without acknowledging more of it
	lingerMost  = 2 * time.Minute        // in all
	lingerBytes = 16 << 20
	lingerHead  = 1 << 20 // of a head that is refused
)

// hangUp closes a connection on which the client may still be sending. It closes the server's half
// first, and the rest once the client has closed its own, as a reset could cost the client the
// answer (RFC 9112, section 9.6). net/http calls it in the goroutine of the connection.
func hangUp(nc net.Conn) {
	defer nc.Close()
	if handlers.CloseWrite(nc) == nil {
		lingerOn(nc, lingerBytes, unsent)
	}
}

// lingerOn reads and drops up to left bytes that the client sends. It returns when the client has
// closed its half, or has had its time to read the answer. unsent returns the number of sent bytes
// that the client has not acknowledged.
func lingerOn(nc net.Conn, left int64, unsent func(net.Conn) int) {
	last, began := 0, time.Now()
	progress := began
	for left > 0 {
		n, err := linger.Drop(nc, lingerTime, left)
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
