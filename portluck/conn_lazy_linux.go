package portluck

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/loop"
	"golang.org/x/sys/unix"
)

// lazyConn is the net.Conn of a TCP descriptor. Go's poller knows the descriptor only once a call
// has to wait for the peer, then as an os.File, which takes two system calls to make. A
// *net.TCPConn, which takes a dozen, is made only if somebody asks for it. Deadlines are passed on
// when a call waits, and only if the one already set would come too late.
type lazyConn struct {
	conn *conn

	mu      sync.Mutex
	fd      int            // -1 once it is closed or nc
	nc      loop.Transport // a loop.File, or the *net.TCPConn; nil before a call waits
	in, out lazyDeadline
	exact   bool // nc is a *net.TCPConn, which others have as well
}

// lazyDeadline is the read or the write deadline. A zero time is no deadline.
type lazyDeadline struct {
	want    time.Time // set by the user
	set     time.Time // set on nc; if earlier than want, it is set again when it expires
	waiting int       // running calls of nc
}

// LazyNetConn is [handlers.Detacher.LazyNetConn].
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
	d, ok := c.sock.(*descriptor)
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

func (s lazySocket) form() handlers.Socket {
	tcp, err := s.real()
	if err != nil {
		return handlers.Socket{FD: -1}
	}
	return handlers.Socket{Conn: tcp}
}

func (s lazySocket) kill() { s.Close() }

// Read is net.Conn's.
func (l *lazyConn) Read(p []byte) (int, error) {
	nc, n, err := l.begin(&l.in, p, unix.Read)
	for nc != nil {
		n, err = nc.Read(p)
		nc = l.end(nc, &l.in, err)
	}
	if err == nil && n == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	return max(n, 0), l.wrap("read", err)
}

// Write is net.Conn's.
func (l *lazyConn) Write(p []byte) (int, error) {
	nc, sent, err := l.begin(&l.out, p, unix.Write)
	for sent = max(sent, 0); nc != nil; {
		var n int
		n, err = nc.Write(p[sent:])
		sent += n
		nc = l.end(nc, &l.out, err)
	}
	if err == nil && sent < len(p) {
		n, err := l.Write(p[sent:])
		return sent + n, err
	}
	return sent, l.wrap("write", err)
}

// begin makes the system call if it need not wait. Otherwise it returns the connection to wait
// with, and the caller must call end.
func (l *lazyConn) begin(d *lazyDeadline, p []byte, call func(fd int, p []byte) (int, error)) (nc loop.Transport, n int, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.nc == nil {
		switch {
		case l.fd < 0:
			return nil, 0, net.ErrClosed
		case d.passed():
			return nil, 0, os.ErrDeadlineExceeded
		}
		switch n, err = call(l.fd, p); err {
		case syscall.EINTR:
		case syscall.EAGAIN:
			l.nc, l.fd = loop.NewFile(l.fd), -1
		default:
			return nil, n, err
		}
	}
	if !l.exact {
		l.armLocked(d)
	}
	d.waiting++
	return l.nc, 0, nil
}

// end ends a call of nc that begin began. If the caller must try again end returns the connection
// to try with: real has replaced nc, or the deadline that expired was earlier than the wanted one.
func (l *lazyConn) end(nc loop.Transport, d *lazyDeadline, err error) (again loop.Transport) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch late := errors.Is(err, os.ErrDeadlineExceeded); {
	case nc != l.nc && (late || errors.Is(err, os.ErrClosed)):
		return l.nc
	case late && !l.exact && !d.passed():
		l.setLocked(d, d.want)
		return nc
	}
	d.waiting--
	return nil
}

func (d *lazyDeadline) passed() bool { return !d.want.IsZero() && !time.Now().Before(d.want) }

// armLocked sets the wanted deadline, unless an earlier one is set that has not expired yet.
func (l *lazyConn) armLocked(d *lazyDeadline) {
	switch {
	case d.set.IsZero() && d.want.IsZero():
	case d.set.IsZero(), !d.want.IsZero() && d.want.Before(d.set), !time.Now().Before(d.set):
		l.setLocked(d, d.want)
	}
}

func (l *lazyConn) setLocked(d *lazyDeadline, t time.Time) {
	d.set = t
	if d == &l.in {
		_ = l.nc.SetReadDeadline(t)
		return
	}
	_ = l.nc.SetWriteDeadline(t)
}

func (l *lazyConn) deadline(d *lazyDeadline, t time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	d.want = t
	switch {
	case l.nc == nil && l.fd < 0:
		return l.wrap("set", net.ErrClosed)
	case l.exact:
		l.setLocked(d, t)
	case l.nc != nil && d.waiting > 0:
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

// real returns the *net.TCPConn for others to use. From then on every deadline is passed on at
// once.
func (l *lazyConn) real() (*net.TCPConn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.exact && l.nc != nil {
		return l.nc.(*net.TCPConn), nil
	}
	tcp, err := l.makeLocked()
	if err != nil {
		return nil, err
	}
	l.nc, l.fd, l.exact = tcp, -1, true
	l.setLocked(&l.in, l.in.want)
	l.setLocked(&l.out, l.out.want)
	return tcp, nil
}

// makeLocked makes the *net.TCPConn. Calls that wait with the os.File go on with it.
func (l *lazyConn) makeLocked() (*net.TCPConn, error) {
	f, waits := l.nc.(loop.File)
	switch {
	case !waits && l.fd < 0:
		return nil, net.ErrClosed
	case !waits:
		f, l.fd = loop.NewFile(l.fd), -1
	}
	defer f.Close() // net.FileConn duplicates it
	nc, err := net.FileConn(f.File)
	if err != nil {
		l.nc = nil
		return nil, err
	}
	return nc.(*net.TCPConn), nil
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
	case l.nc != nil:
		return l.wrap("close", l.nc.CloseWrite())
	case l.fd < 0:
		return l.wrap("close", net.ErrClosed)
	}
	return l.wrap("close", os.NewSyscallError("shutdown", unix.Shutdown(l.fd, unix.SHUT_WR)))
}

// Close is net.Conn's.
func (l *lazyConn) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	nc, fd := l.nc, l.fd
	l.nc, l.fd = nil, -1
	switch {
	case nc != nil:
		return l.wrap("close", nc.Close())
	case fd < 0:
		return l.wrap("close", net.ErrClosed)
	}
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
	if of, ok := err.(*os.PathError); ok {
		err = of.Err
	}
	switch err {
	case nil, io.EOF:
		return err
	case os.ErrDeadlineExceeded:
		return errLate
	case net.ErrClosed, os.ErrClosed:
		return errShut
	}
	switch of := err.(type) {
	case *net.OpError:
		return err
	case syscall.Errno:
		err = os.NewSyscallError(op, of)
	}
	return &net.OpError{Op: op, Net: "tcp", Source: l.LocalAddr(), Addr: l.RemoteAddr(), Err: err}
}
