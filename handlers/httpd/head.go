package httpd

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"github.com/portluck/portluck/handlers"
)

// What the head of a request takes in memory beside its bytes, about.
const (
	freeHead  = 4 << 10 // a head of no more is not counted
	nameCost  = 100     // of a name in http.Header
	valueCost = 40      // of a value
	lineCost  = 80      // of a field that may have a name of its own, or not
)

// headMeter counts the head of HTTP/1 that is being read. Its Reads come one after the other, and
// what net/http tells of the connection comes between them.
type headMeter struct {
	budget *handlers.Budget
	on     atomic.Bool // what is read is of a head
	h2c    bool        // it may be one of HTTP/2 with prior knowledge
	h2     atomic.Bool // the connection speaks HTTP/2, which has one head at a time
	read   int         // bytes of the head
	lines  int
	held   int // of budget
	clock  headClock
}

// begins expects the head of the next request.
func (m *headMeter) begins() {
	if !m.h2.Load() {
		m.clock.begins()
		m.on.Store(true)
	}
}

// ends gives back what the head has held, and returns how many bytes of it were read. It is a
// request by now, or nothing.
func (m *headMeter) ends() (read int) {
	if m.on.Swap(false) {
		m.budget.Take(-m.held)
		read, m.read, m.lines, m.held = m.read, 0, 0, 0
	}
	return read
}

// more counts p, which was read. It reports false when the memory for it is not left.
func (m *headMeter) more(p []byte) bool {
	m.read += len(p)
	m.lines += bytes.Count(p, []byte("\n"))
	if m.read <= freeHead {
		return true
	}
	cost := 2*m.read + lineCost*m.lines // net/http has the bytes and the fields
	if !m.budget.Take(cost - m.held) {
		return false
	}
	m.held = cost
	return true
}

// readHead reads part of a head. It refuses the client when there is no memory for it (RFC 9110,
// section 15.6.4), or when the rest is late (section 15.5.9).
func (c *watch) readHead(p []byte) (int, error) {
	head := &c.conn.head
	c.limit(len(p))
	n, err := c.readLines(p)
	head.clock.saw(p[:n])
	switch {
	case head.clock.isPreface(p[:n]):
		head.on.Store(false)
		if !head.h2c || head.clock.skipped {
			return 0, io.EOF // and no answer of HTTP/1
		}
		head.h2.Store(true)
	case !head.more(p[:n]):
		err = head.budget.Refuse()
		c.conn.refuse(handlers.AppendRefusal(nil, http.StatusServiceUnavailable, err.Error(), [2]string{"Retry-After", "1"}), err)
		return 0, io.EOF
	case head.clock.begun && errors.Is(err, os.ErrDeadlineExceeded):
		c.conn.refuse(head.clock.farewell(), handlers.ErrStalled)
		return 0, io.EOF
	}
	return n, err
}

// refuse answers a client whose head net/http does not get, if there is an answer, and closes the
// connection.
func (l *httpConn) refuse(answer []byte, err error) {
	l.head.ends()
	if len(answer) > 0 && l.nc.SetWriteDeadline(time.Now().Add(lingerTime)) == nil {
		_, _ = l.nc.Write(answer)
	}
	hangUp(l.nc)
	info := *l.conn.Info()
	info.Protocol = handlers.ProtocolHTTP1
	l.port.Fail(&info, err)
}

// headCost is about how much memory the head of r takes.
func headCost(r *http.Request) int {
	n := len(r.RequestURI)
	for name, values := range r.Header {
		n += len(name) + nameCost + valueCost*len(values)
		for _, v := range values {
			n += len(v)
		}
	}
	return n
}

// holdHead counts the head of r, and returns what it holds of the budget then: the caller gives
// that back. It answers r, and is not ok, when the memory is not left.
func (h *Handler) holdHead(w http.ResponseWriter, r *http.Request, l *httpConn) (held int, ok bool) {
	if r.ProtoMajor == 1 && l.head.ends() <= freeHead {
		return 0, true
	}
	n := headCost(r)
	if n <= freeHead {
		return 0, true
	}
	if h.budget().Take(n) {
		return n, true
	}
	pace := h.writeDeadline(w, r)
	pace.begin()
	err := h.budget().Refuse()
	if r.ProtoMajor == 1 { // of HTTP/2 others may use the connection
		w.Header().Set("Connection", "close")
	}
	w.Header().Set("Retry-After", "1")
	http.Error(w, err.Error(), http.StatusServiceUnavailable)
	r.Header = http.Header{} // net/http waits for the client to go
	info := requestInfo(r, l)
	l.port.Fail(&info, err)
	return 0, false
}
