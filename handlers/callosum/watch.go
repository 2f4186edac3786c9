package callosum

import (
	"net"
	"time"
)

// watch tells when the peer of nc has ended, whether or not the application reads: ended is called
// once, by some goroutine which it must not hold up. It returns what is to be used instead of nc,
// and forget, which must be called when that has been closed: ended is not called, nor running,
// after it.
func (w *watcher) watch(nc net.Conn, unread time.Duration, ended func()) (conn net.Conn, forget func()) {
	if forget := w.add(nc, ended); forget != nil {
		return nc, forget
	}
	a := readAhead(nc, unread, ended)
	return a, func() { <-a.done }
}
