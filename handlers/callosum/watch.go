package callosum

import (
	"net"
	"time"
)

// watch calls ended once when the peer of nc has ended, whether or not the application reads. ended
// must not block, as other connections may wait for it. The caller uses conn instead of nc, and
// must call forget after it has closed conn. Once forget has returned, ended does not run and is
// not called any more.
func (w *watcher) watch(nc net.Conn, unread time.Duration, ended func()) (conn net.Conn, forget func()) {
	if forget := w.add(nc, ended); forget != nil {
		return nc, forget
	}
	a := readAhead(nc, unread, ended)
	return a, func() { <-a.done }
}
