package httpd

import (
	"cmp"
	"io"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// laneAnswer is the http.ResponseWriter of a request of the lane. It keeps the answer until the
// handler returns, and then makes the bytes that net/http would have sent. It does this only for an
// answer that is plain: whole, of known length, and without a header that net/http interprets. Any
// other answer is made by net/http itself: see laneRelay.
type laneAnswer struct {
	*laneMemory // nil from the end of a plain answer on
	lane        *lane
	exchange    *laneExchange
	in          []byte     // the bytes of the request
	relay       *laneRelay // makes the answer; nil while it may be plain
	status      int        // zero until WriteHeader
}

// laneMemory is what only an answer uses, so that the next one can use it again.
type laneMemory struct {
	header http.Header
	body   []byte
	head   appender
}

var laneMemories = sync.Pool{New: func() any { return &laneMemory{header: http.Header{}} }}

// release gives the memory back, unless it has grown much.
func (a *laneAnswer) release() {
	m := a.laneMemory
	if a.laneMemory = nil; cap(m.body) > 2*counted {
		return
	}
	clear(m.header)
	m.body, m.head.b = m.body[:0], nil
	laneMemories.Put(m)
}

// Header is http.ResponseWriter's.
func (a *laneAnswer) Header() http.Header {
	if a.relay != nil {
		return a.relay.w.Header()
	}
	return a.header
}

// WriteHeader is http.ResponseWriter's.
func (a *laneAnswer) WriteHeader(status int) {
	switch {
	case a.relay != nil:
		a.relay.w.WriteHeader(status)
	case a.status == 0:
		a.status = status
	}
}

// Write is io.Writer's.
func (a *laneAnswer) Write(p []byte) (int, error) {
	if length := a.header["Content-Length"]; length != nil && strings.Join(length, ",") != strconv.Itoa(len(a.body)+len(p)) || !bodyAllowed(a.status) {
		a.leave() // net/http may refuse p
	}
	if a.relay != nil {
		return a.relay.w.Write(p)
	}
	if a.status == 0 {
		a.status = http.StatusOK
	}
	a.body = append(a.body, p...)
	return len(p), nil
}

// leave lets net/http make the answer from here on.
func (a *laneAnswer) leave() {
	if a.relay != nil {
		return
	}
	a.lane.send()
	read := 0
	if a.exchange.request.Body != http.NoBody {
		read = a.exchange.body.read
	}
	a.relay = newLaneRelay(a.lane, a.in, read)
	w := a.relay.w
	maps.Copy(w.Header(), a.header)
	if a.status != 0 {
		w.WriteHeader(a.status)
	}
	if len(a.body) > 0 {
		_, _ = w.Write(a.body)
	}
}

// The methods of http.ResponseController.

// FlushError sends what was written: the answer is not whole.
func (a *laneAnswer) FlushError() error {
	a.leave()
	return a.relay.rc.Flush()
}

// EnableFullDuplex is for an answer that begins before the body has ended.
func (a *laneAnswer) EnableFullDuplex() error {
	a.leave()
	return a.relay.rc.EnableFullDuplex()
}

// SetReadDeadline bounds the wait for the body, which is there.
func (a *laneAnswer) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline bounds the wait for the client, which the loop bounds.
func (a *laneAnswer) SetWriteDeadline(time.Time) error { return nil }

// finish ends the answer. It reports whether the connection may have another request.
func (a *laneAnswer) finish() (open bool) {
	if a.relay == nil && a.isPlain() {
		s := a.lane
		s.mu.Lock()
		defer s.mu.Unlock()
		s.out = a.appendPlain(s.out)
		a.release()
		return true
	}
	a.leave()
	return a.relay.finish(false)
}

// abort breaks the answer off.
func (a *laneAnswer) abort() {
	if a.relay != nil {
		a.relay.finish(true)
	}
}

// isPlain reports whether appendPlain makes the answer as net/http does.
func (a *laneAnswer) isPlain() bool {
	if !bodyAllowed(a.status) || a.status != 0 && http.StatusText(a.status) == "" {
		return false
	}
	length := a.header["Content-Length"]
	for name := range a.header {
		switch name {
		case "Connection", "connection", "Content-Encoding", "Trailer", "Transfer-Encoding":
			return false
		}
		if strings.HasPrefix(name, http.TrailerPrefix) {
			return false
		}
	}
	if length == nil {
		return len(a.body) <= counted
	}
	return len(length) == 1 && length[0] == strconv.Itoa(len(a.body))
}

// appendPlain appends the answer to dst, its fields in the order of net/http.
func (a *laneAnswer) appendPlain(dst []byte) []byte {
	status := cmp.Or(a.status, http.StatusOK)
	b := strconv.AppendInt(append(dst, "HTTP/1.1 "...), int64(status), 10)
	b = append(append(append(b, ' '), http.StatusText(status)...), "\r\n"...)
	a.head.b = b
	_ = a.header.Write(&a.head)
	b = a.head.b
	if _, ok := a.header["Date"]; !ok {
		b = time.Now().UTC().AppendFormat(append(b, "Date: "...), http.TimeFormat)
		b = append(b, "\r\n"...)
	}
	if _, ok := a.header["Content-Length"]; !ok {
		b = strconv.AppendInt(append(b, "Content-Length: "...), int64(len(a.body)), 10)
		b = append(b, "\r\n"...)
	}
	if _, ok := a.header["Content-Type"]; !ok && len(a.body) > 0 {
		b = append(append(b, "Content-Type: "...), http.DetectContentType(a.body)...)
		b = append(b, "\r\n"...)
	}
	return append(append(b, "\r\n"...), a.body...)
}

// appender is an io.Writer and an io.StringWriter that appends.
type appender struct{ b []byte }

func (w *appender) Write(p []byte) (int, error) {
	w.b = append(w.b, p...)
	return len(p), nil
}

func (w *appender) WriteString(s string) (int, error) {
	w.b = append(w.b, s...)
	return len(s), nil
}

var _ io.StringWriter = (*appender)(nil)
