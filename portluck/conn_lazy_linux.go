package portluck

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/portluck/portluck/handlers/loop"
	"golang.org/x/sys/unix"
)

// lazyConn is the net.Conn of a TCP descriptor. It becomes a *net.TCPConn only when it has to wait
// for the peer: making one takes a dozen system calls, and a client that sends one request and
// leaves needs none. Deadlines are passed to the *net.TCPConn when a call waits, and only if the
// one already set would come too late.
type lazyConn struct {
	conn *conn

	mu      sync.Mutex
	fd      int // -1 once it is closed or a *net.TCPConn
	tcp     *net.TCPConn
	in, out lazyDeadline
	exact   bool // real has handed out the *net.TCPConn
}

// lazyDeadline is the read or the write deadline. A zero time is no deadline.
type lazyDeadline struct {
	want time.Time // set by the user
	// set on the *net.TCPConn; if earlier than want, it is set again when it expires
	set     time.Time
	waiting int // running calls of the *net.TCPConn
}

// LazyNetConn is [handlers.LazyConn.LazyNetConn].
func (c *conn) LazyNetConn() (net.Conn, error) {
	if nc := c.lazy(); nc != nil {
		return nc, nil
	}
	return c.NetConn()
}

// lazy returns a lazyConn for the connection, or nil if it is not a bare TCP descriptor, or came
// through a proxy: then its addresses are not the socket's.
func (c *conn) lazy() *lazyConn {
	c.mu.Lock()
	defer c.mu.Unlock()
	d, ok := c.sock.(descriptor)
	if !ok || !d.tcp || c.proxied || c.closed {
		return nil
	}
	l := &lazyConn{conn: c, fd: d.fd}
	c.sock = lazySocket{l}
	return l
}

// lazySocket is a socket that is in use as a lazyConn.
type lazySocket struct{ *lazyConn }

func (s lazySocket) netConn() (net.Conn, error) { return s.real() }

func (s lazySocket) transport() (loop.Transport, socket, error) {
	tcp, err := s.real()
	return tcp, s, err
}

func (s lazySocket) kill() { s.Close() }

// Read is net.Conn's.
func (l *lazyConn) Read(p []byte) (int, error) {
	tcp, n, err := l.begin(&l.in, p, unix.Read)
	for tcp != nil {
		n, err = tcp.Read(p)
		if !l.end(tcp, &l.in, err) {
			return n, err
		}
	}
	if err == nil && n == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	return max(n, 0), l.wrap("read", err)
}

// Write is net.Conn's.
func (l *lazyConn) Write(p []byte) (int, error) {
	tcp, sent, err := l.begin(&l.out, p, unix.Write)
	for sent = max(sent, 0); tcp != nil; {
		n, err := tcp.Write(p[sent:])
		sent += n
		if !l.end(tcp, &l.out, err) {
			return sent, err
		}
	}
	if err == nil && sent < len(p) {
		n, err := l.Write(p[sent:])
		return sent + n, err
	}
	return sent, l.wrap("write", err)
}

// begin makes the system call if it need not wait. Otherwise it returns the *net.TCPConn to wait
// with, and the caller must call end.
func (l *lazyConn) begin(d *lazyDeadline, p []byte, call func(fd int, p []byte) (int, error)) (tcp *net.TCPConn, n int, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.tcp == nil {
		switch {
		case l.fd < 0:
			return nil, 0, net.ErrClosed
		case d.passed():
			return nil, 0, os.ErrDeadlineExceeded
		}
		switch n, err = call(l.fd, p); {
		case err == syscall.EINTR:
		case err != syscall.EAGAIN:
			return nil, n, err
		default:
			if _, err := l.tcpLocked(); err != nil {
				return nil, 0, err
			}
		}
	}
	if !l.exact {
		l.armLocked(d)
	}
	d.waiting++
	return l.tcp, 0, nil
}

// end ends a call that begin began. It reports whether the caller must try again: the deadline
// that expired was earlier than the wanted one.
func (l *lazyConn) end(tcp *net.TCPConn, d *lazyDeadline, err error) (again bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.exact && errors.Is(err, os.ErrDeadlineExceeded) && !d.passed() {
		l.setLocked(tcp, d, d.want)
		return true
	}
	d.waiting--
	return false
}

func (d *lazyDeadline) passed() bool { return !d.want.IsZero() && !time.Now().Before(d.want) }

// armLocked sets the wanted deadline, unless an earlier one is set that has not expired yet.
func (l *lazyConn) armLocked(d *lazyDeadline) {
	switch {
	case d.set.IsZero() && d.want.IsZero():
	case d.set.IsZero(), !d.want.IsZero() && d.want.Before(d.set), !time.Now().Before(d.set):
		l.setLocked(l.tcp, d, d.want)
	}
}

func (l *lazyConn) setLocked(tcp *net.TCPConn, d *lazyDeadline, t time.Time) {
	d.set = t
	if d == &l.in {
		_ = tcp.SetReadDeadline(t)
		return
	}
	_ = tcp.SetWriteDeadline(t)
}

func (l *lazyConn) deadline(d *lazyDeadline, t time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	d.want = t
	switch {
	case l.tcp == nil && l.fd < 0:
		return l.wrap("set", net.ErrClosed)
	case l.exact:
		l.setLocked(l.tcp, d, t)
	case l.tcp != nil && d.waiting > 0:
		l.armLocked(d)
	}
	return nil
}

// SetReadDeadline is net.Conn's.
func (l *lazyConn) SetReadDeadline(t time.Time) error { return l.deadline(&l.in, t) }

// SetWriteDeadline is net.Conn's.
func (l *lazyConn) SetWriteDeadline(t time.Time) error { return l.deadline(&l.out, t) }

// SetDeadline is net.Conn's.
func (l *lazyConn) SetDeadline(t time.Time) error {
	if err := l.SetReadDeadline(t); err != nil {
		return err
	}
	return l.SetWriteDeadline(t)
}

// tcpLocked returns the *net.TCPConn, and makes it if need be.
func (l *lazyConn) tcpLocked() (*net.TCPConn, error) {
	if l.tcp != nil {
		return l.tcp, nil
	}
	if l.fd < 0 {
		return nil, net.ErrClosed
	}
	nc, err := descriptor{fd: l.fd}.netConn()
	l.fd = -1
	if err != nil {
		return nil, err
	}
	l.tcp = nc.(*net.TCPConn)
	return l.tcp, nil
}

// real returns the *net.TCPConn for others to use. From then on every deadline is passed on at
// once.
func (l *lazyConn) real() (*net.TCPConn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	tcp, err := l.tcpLocked()
	if err != nil || l.exact {
		return tcp, err
	}
	l.exact = true
	l.setLocked(tcp, &l.in, l.in.want)
	l.setLocked(tcp, &l.out, l.out.want)
	return tcp, nil
}

// SyscallConn returns the raw connection of the *net.TCPConn.
func (l *lazyConn) SyscallConn() (syscall.RawConn, error) {
	tcp, err := l.real()
	if err != nil {
		return nil, l.wrap("raw", err)
	}
	return tcp.SyscallConn()
}

// ReadFrom implements [io.ReaderFrom]. Files are sent with sendfile.
func (l *lazyConn) ReadFrom(src io.Reader) (int64, error) {
	tcp, err := l.real()
	if err != nil {
		return 0, l.wrap("readfrom", err)
	}
	return tcp.ReadFrom(src)
}

// CloseWrite sends FIN.
func (l *lazyConn) CloseWrite() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.tcp != nil:
		return l.tcp.CloseWrite()
	case l.fd < 0:
		return l.wrap("close", net.ErrClosed)
	}
	return l.wrap("close", os.NewSyscallError("shutdown", unix.Shutdown(l.fd, unix.SHUT_WR)))
}

// Close is net.Conn's.
func (l *lazyConn) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.tcp != nil:
		return l.tcp.Close()
	case l.fd < 0:
		return l.wrap("close", net.ErrClosed)
	}
	fd := l.fd
	l.fd = -1
	return l.wrap("close", os.NewSyscallError("close", unix.Close(fd)))
}

// LocalAddr is net.Conn's.
func (l *lazyConn) LocalAddr() net.Addr { return net.TCPAddrFromAddrPort(l.conn.info.Local) }

// RemoteAddr is net.Conn's.
func (l *lazyConn) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(l.conn.info.Remote) }

// Each connection of net/http meets one of these, mostly both.
var (
	errLate = &net.OpError{Op: "wait", Net: "tcp", Err: os.ErrDeadlineExceeded}
	errShut = &net.OpError{Op: "use", Net: "tcp", Err: net.ErrClosed}
)

// wrap makes a [net.OpError] of an error that does not come from the *net.TCPConn.
func (l *lazyConn) wrap(op string, err error) error {
	switch err {
	case nil:
		return nil
	case os.ErrDeadlineExceeded:
		return errLate
	case net.ErrClosed:
		return errShut
	}
	if errno, ok := err.(syscall.Errno); ok {
		err = os.NewSyscallError(op, errno)
	}
	return &net.OpError{Op: op, Net: "tcp", Source: l.LocalAddr(), Addr: l.RemoteAddr(), Err: err}
}
