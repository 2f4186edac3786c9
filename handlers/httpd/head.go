package httpd

import (
	"bytes"
	"net/http"
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

// headMeter counts the head of HTTP/1 that is being read. Its Reads come one after the other, and what
// net/http tells of the connection comes between them.
type headMeter struct {
	budget *handlers.Budget
	on     atomic.Bool // what is read is of a head
	h2     atomic.Bool // the connection speaks HTTP/2, which has one head at a time
	read   int         // bytes of the head
	lines  int
	held   int // of budget
}

// begins expects the head of the next request.
func (m *headMeter) begins() {
	if !m.h2.Load() {
		m.on.Store(true)
	}
}

// ends gives back what the head has held, and returns how many bytes of it were read. It is a request
// by now, or nothing.
func (m *headMeter) ends() (read int) {
	if m.on.Swap(false) {
		m.budget.Take(-m.held)
		read, m.read, m.lines, m.held = m.read, 0, 0, 0
	}
	return read
}

// more counts p, which was read. It reports false when the memory for it is not left.
func (m *headMeter) more(p []byte) bool {
	if m.read == 0 && bytes.HasPrefix(p, []byte("PRI")) {
		m.on.Store(false)
		m.h2.Store(true)
		return true
	}
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

// refuse answers a client whose head is too much for the memory that is left, which net/http does not get
// (RFC 9110, section 15.6.4), and closes the connection.
func (m *headMeter) refuse(l *link) {
	m.ends()
	err := m.budget.Refuse()
	if l.nc.SetWriteDeadline(time.Now().Add(lingerTime)) == nil {
		_, _ = l.nc.Write(handlers.AppendRefusal(nil, http.StatusServiceUnavailable, err.Error(), [2]string{"Retry-After", "1"}))
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

// holdHead counts the head of r until free is called. It answers r, and is nil, when the memory is not left.
func (h *Handler) holdHead(w http.ResponseWriter, r *http.Request, l *link) (free func()) {
	if r.ProtoMajor == 1 && l.head.ends() <= freeHead {
		return nothingHeld
	}
	n := headCost(r)
	if n <= freeHead {
		return nothingHeld
	}
	if h.budget().Take(n) {
		return func() { h.budget().Take(-n) }
	}
	pace := h.pacer(w, r)
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
	return nil
}

// nothingHeld frees nothing.
func nothingHeld() {}
