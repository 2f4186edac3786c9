package loop

import (
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// tlsLink runs TLS over a bare descriptor. It is the net.Conn below the tls.Conn and never waits:
// Read returns received bytes, at most one record at a time so that the tls.Conn keeps a small
// buffer, and then errNoData, which is temporary; Write only queues. A nil link is a connection
// without TLS.
type tlsLink struct {
	conn *tls.Conn

	// These are the owner's.
	in      []byte  // received, not yet given to conn
	drained bool    // there was no more to receive
	header  [5]byte // of the current record, as far as it was given to conn
	have    int     // bytes of header
	body    int     // bytes to the end of the record
	end     error   // the error that ended receiving

	mu   sync.Mutex // locked after the connection's mu and the locks of conn
	wire []byte     // encrypted and not yet written
}

// TLSConn returns the TLS layer, or nil if there is none or the connection is not driven yet.
func (c *epollConn) TLSConn() *tls.Conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.tls == nil {
		return nil
	}
	return c.tls.conn
}

// errNoData is the error of a Read that would have to wait.
var errNoData net.Error = noData{}

type noData struct{}

func (noData) Error() string   { return "no data yet" }
func (noData) Timeout() bool   { return true }
func (noData) Temporary() bool { return true }

// maxRecord is the longest payload of a record.
const maxRecord = 16 << 10

// read reads plaintext.
func (t *tlsLink) read(c *epollConn, r *runner, p []byte) (n int, drained bool, err error) {
	if n := r.size(); len(r.cipher) < n {
		r.cipher = make([]byte, n)
	}
	for {
		n, err = t.conn.Read(p)
		t.flushReplies(c)
		switch {
		case n > 0: // an error after it comes again
			return n, false, nil
		case !errors.Is(err, errNoData):
			return 0, false, cutError(t.conn, err)
		case t.drained:
			return 0, true, unix.EAGAIN
		case r.budget <= 0: // conn holds no data that epoll would not report
			return 0, false, errBudget
		}
		got, err := readFD(int(c.fd), r.cipher)
		switch {
		case err != nil:
			return 0, true, err
		case got == 0:
			t.end = io.EOF
		}
		r.budget -= got // even a one-byte record costs a decryption
		t.in = r.cipher[:got]
		t.drained = 0 < got && c.drains(got, len(r.cipher))
	}
}

// save copies what conn has not read of the runner's buffer at the end of a turn.
func (t *tlsLink) save() {
	if t == nil {
		return
	}
	t.drained = false
	if t.in = append([]byte(nil), t.in...); len(t.in) == 0 {
		t.in = nil
	}
}

// flushReplies writes what conn sends because of a read: an alert or a key update.
func (t *tlsLink) flushReplies(c *epollConn) {
	t.mu.Lock()
	n := len(t.wire)
	t.mu.Unlock()
	if n > 0 {
		c.flush()
	}
}

// Read implements net.Conn for conn. It returns at the end of a record (RFC 8446, section 5.1).
func (t *tlsLink) Read(p []byte) (n int, err error) {
	if len(t.in) == 0 {
		if t.end != nil {
			return 0, t.end
		}
		return 0, errNoData
	}
	if t.body == 0 {
		n = copy(p, t.in[:min(len(t.in), len(t.header)-t.have)])
		t.have += copy(t.header[t.have:], p[:n])
		if t.have == len(t.header) {
			t.body, t.have = int(binary.BigEndian.Uint16(t.header[3:])), 0
		}
	}
	k := copy(p[n:], t.in[n:][:min(len(t.in)-n, t.body)])
	t.body -= k
	t.in = t.in[n+k:]
	return n + k, nil
}

// Write implements net.Conn for conn.
func (t *tlsLink) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.wire = append(t.wire, p...)
	return len(p), nil
}

// write encrypts p and writes as much as the kernel accepts. Encrypted bytes count as written.
func (t *tlsLink) write(fd int, p []byte) (n int, err error) {
	for {
		if err := t.flush(fd); err != nil || n == len(p) {
			return n, err
		}
		chunk := p[n:min(len(p), n+maxRecord)]
		if _, err := t.conn.Write(chunk); err != nil {
			return n, err
		}
		n += len(chunk)
	}
}

// flush writes the encrypted bytes.
func (t *tlsLink) flush(fd int) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for len(t.wire) > 0 {
		n, err := writeFD(fd, t.wire)
		t.wire = t.wire[n:]
		if err != nil {
			return err
		}
	}
	t.wire = nil
	return nil
}

// queued returns how many encrypted bytes are unwritten.
func (t *tlsLink) queued() int {
	if t == nil {
		return 0
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.wire)
}

func (t *tlsLink) drop() {
	if t == nil {
		return
	}
	t.mu.Lock()
	t.wire = nil
	t.mu.Unlock()
}

// closeWrite sends the close_notify. It returns EAGAIN if some of it is still queued.
func (t *tlsLink) closeWrite(fd int) error {
	_ = t.conn.CloseWrite() // queues it
	return t.flush(fd)
}

// The rest of net.Conn: crypto/tls sets deadlines and may close.

// Close does nothing: the loop closes the descriptor.
func (t *tlsLink) Close() error { return nil }

// LocalAddr returns an empty address.
func (t *tlsLink) LocalAddr() net.Addr { return &net.TCPAddr{} }

// RemoteAddr returns an empty address.
func (t *tlsLink) RemoteAddr() net.Addr { return &net.TCPAddr{} }

// SetDeadline does nothing: nothing waits.
func (t *tlsLink) SetDeadline(time.Time) error { return nil }

// SetReadDeadline does nothing.
func (t *tlsLink) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline does nothing.
func (t *tlsLink) SetWriteDeadline(time.Time) error { return nil }
