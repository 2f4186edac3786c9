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

// The approximate memory that the head of a request takes besides its bytes.
const (
	freeHead  = 4 << 10 // a head of up to this size is not counted
	nameCost  = 100     // of a name in http.Header
	valueCost = 40      // of a value
	lineCost  = 80      // of a field line, whose name may or may not be new
)

// headMeter counts the memory of the HTTP/1 head that is being read. Reads come one after the
// other, and the changes of the connection's state between them.
type headMeter struct {
	budget *handlers.Budget
	on     atomic.Bool // the bytes that are read belong to a head
	h2c    bool        // the head may be one of HTTP/2 with prior knowledge
	h2     atomic.Bool // the connection speaks HTTP/2
	read   int         // bytes of the head
	lines  int
	held   int // of budget
	clock  headClock
}

// begins starts to count the head of the next request.
func (m *headMeter) begins() {
	if !m.h2.Load() {
		m.clock.begins()
		m.on.Store(true)
	}
}

// ends gives the memory of the head back to the budget and returns how many of its bytes were read.
// It is called once the head has become a request or was given up.
func (m *headMeter) ends() (read int) {
	if m.on.Swap(false) {
		m.budget.Take(-m.held)
		read, m.read, m.lines, m.held = m.read, 0, 0, 0
	}
	return read
}

// more counts p, which was read. It returns false if the budget has too little memory left.
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

// readHead reads part of a head. It refuses the client if there is no memory for the head (RFC
// 9110, section 15.6.4), or if the rest is late (section 15.5.9).
func (c *watch) readHead(p []byte) (int, error) {
	head := &c.conn.head
	c.limit(len(p))
	n, err := c.readLines(p)
	if c.isIdleOver(n, err) {
		if len(p) == netHTTPBuffer && c.conn.parks() { // net/http has read nothing of the next request
			c.conn.parking.Store(true)
			return 0, io.EOF
		}
		c.waitOn()
		n, err = c.readLines(p)
	}
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

// refuse closes the connection of a client whose head does not reach net/http. It sends answer
// first, if that is not empty.
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

// headCost returns roughly how much memory the head of r takes.
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

// holdHead takes the memory of the head of r from the budget and returns how much it took. The
// caller must give it back. If too little is left, holdHead answers r and returns false.
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
