package portluck

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"
	"unsafe"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/matchers"
	"golang.org/x/sys/unix"
)

// descriptors accepts bare descriptors from a listening socket. Keep-alive and no-delay are set
// once, on the listener: on Linux every connection accepted later inherits them.
type descriptors struct {
	port  *port
	fd    int // a duplicate of the listener's
	wait  acceptWait
	local netip.AddrPort // of every connection; zero if they differ
	tcp   bool
	buf   []byte
	empty bool // nothing was pending at the last accept4
	// the kernel may still hold connections that came before the listener was prepared
	early    bool
	multi    bool // the listener speaks multipath TCP, the default of net.Listen
	deferred bool // the kernel holds silent connections back (TCP_DEFER_ACCEPT)
	accept4  func(fd, flags int) (int, syscall.Sockaddr, error)
	// of the last connection; consecutive connections of one process share it
	peer *handlers.Peer
	// a reserve descriptor, freed for shedOne when the process has none left; -1 if closed
	spare int
}

// newSource returns the fastest source for l.
func newSource(p *port, l net.Listener, shut func() error) source {
	if d := newDescriptors(p, l); d != nil {
		return d
	}
	return &listenerSource{port: p, l: l, shut: shut}
}

// newDescriptors returns a source that accepts from l directly, or nil if l is not a listening
// socket. It closes a TCP listener: Go's poller would wake a thread for each connection as well. A
// Unix listener stays open, for its Close removes the path.
func newDescriptors(p *port, l net.Listener) *descriptors {
	// unix.Accept4 costs another system call, for the protocol.
	d := &descriptors{port: p, accept4: syscall.Accept4}
	var socket syscall.Conn
	switch l := l.(type) {
	case *net.TCPListener:
		socket, d.tcp = l, true
		if addr := handlers.AddrPort(l.Addr()); !addr.Addr().IsUnspecified() {
			d.local = addr
		}
	case *net.UnixListener:
		socket = l
	case *handlers.UnixListener:
		socket = l
	default:
		return nil
	}
	if !d.open(socket) {
		return nil
	}
	d.buf, d.spare = make([]byte, matchers.Window), openSpare()
	if d.tcp {
		l.Close()
		p.prepare(uintptr(d.fd))
		protocol, err := unix.GetsockoptInt(d.fd, unix.SOL_SOCKET, unix.SO_PROTOCOL)
		d.early, d.multi = true, err == nil && protocol == unix.IPPROTO_MPTCP
		d.deferred = p.sniff.deferred && deferAccept(d.fd) == nil
	}
	return d
}

// open duplicates the descriptor of the socket. Go's poller does not know the duplicate.
func (d *descriptors) open(socket syscall.Conn) bool {
	raw, err := socket.SyscallConn()
	if err != nil {
		return false
	}
	dupErr := error(nil)
	err = raw.Control(func(fd uintptr) { d.fd, dupErr = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0) })
	if err != nil || dupErr != nil {
		return false
	}
	d.wait.fd = d.fd
	if d.wait.Waiter, err = d.port.loop.NewWaiter(d.fd); err != nil {
		unix.Close(d.fd)
		return false
	}
	return true
}

// deferAccept makes the kernel hold each connection back until it has data, for at most deferTime,
// so that the connection can be classified as soon as it is accepted.
func deferAccept(fd int) error {
	return unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, int(deferTime/time.Second))
}

// notSent is how many unsent bytes the kernel buffers for a client. The rest is queued in the
// process, where it is counted.
const notSent = 128 << 10

// prepare sets socket options on a listener, whose connections inherit them, or on a connection
// accepted before its listener was prepared. Options that the system refuses are skipped.
func (p *port) prepare(fd uintptr) {
	setOptions(fd, [][3]int{
		{unix.IPPROTO_TCP, unix.TCP_NODELAY, 1},
		{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
		{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 15},
		{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 15},
		{unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 9},
	})
	// drop a peer that acknowledges nothing, even though our writes do not block
	if t := p.srv.timeout(); t > 0 {
		setOptions(fd, [][3]int{{unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(t / time.Millisecond)}})
	}
	prepareOwn(fd)
}

// prepareOwn sets the options that a multipath TCP connection does not inherit from its listener.
func prepareOwn(fd uintptr) {
	setOptions(fd, [][3]int{
		{unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, notSent},
		{unix.SOL_SOCKET, unix.SO_OOBINLINE, 1}, // urgent data is data
	})
}

// setOptions sets each option, given as level, name and value. It ignores errors.
func setOptions(fd uintptr, options [][3]int) {
	for _, o := range options {
		value := int32(o[2])
		// a raw system call does not tell Go's scheduler, which would cost as much again
		_, _, _ = unix.RawSyscall6(unix.SYS_SETSOCKOPT, fd, uintptr(o[0]), uintptr(o[1]), uintptr(unsafe.Pointer(&value)), unsafe.Sizeof(value), 0)
	}
}

func openSpare() int {
	fd, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1
	}
	return fd
}

// accept waits for connections, accepts a batch of those that are pending and starts to classify
// them.
func (d *descriptors) accept() error {
	raw, err := d.wait.choose(&d.port.heading)
	switch {
	case err != nil:
		return err
	case raw != nil:
		return d.acceptWith(raw)
	}
	for {
		if d.empty {
			d.wait.Wait()
		}
		if err := d.wait.Err(); err != nil {
			return err
		}
		if err := d.acceptAll(acceptBatch); !errors.Is(err, unix.EAGAIN) {
			return err
		}
	}
}

// acceptAll accepts up to most connections. It returns EAGAIN if none is pending.
func (d *descriptors) acceptAll(most int) error {
	d.empty = false
	for i := range most {
		nfd, sa, err := d.accept4(d.fd, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		switch err {
		case nil:
			d.take(nfd, sa)
		case unix.EINTR, unix.ECONNABORTED:
		case unix.EAGAIN:
			d.early, d.empty = false, true
			if i > 0 {
				return nil
			}
			return err
		case unix.EMFILE, unix.ENFILE:
			d.shedOne()
			return os.NewSyscallError("accept4", err)
		default:
			return os.NewSyscallError("accept4", err)
		}
	}
	return nil
}

// stop makes accept return. The socket keeps listening.
func (d *descriptors) stop(context.Context) { d.wait.stop() }

// rest accepts the connections that are still in the kernel's queue before the listener is closed.
func (d *descriptors) rest() {
	for range acceptBatch {
		if err := d.acceptAll(1 << 20); !isPeers(err) {
			return
		}
	}
}

// close closes the duplicate and the reserve descriptor.
func (d *descriptors) close() {
	d.wait.close()
	unix.Close(d.fd)
	if d.spare >= 0 {
		unix.Close(d.spare)
	}
}

// shedOne accepts one client and closes it at once, by freeing the reserve descriptor: the process
// has no other descriptor left.
func (d *descriptors) shedOne() {
	if d.spare < 0 {
		d.spare = openSpare()
		return
	}
	unix.Close(d.spare)
	if nfd, _, err := unix.Accept4(d.fd, unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK); err == nil {
		unix.Close(nfd)
	}
	d.spare = openSpare()
}

// take starts to classify an accepted descriptor.
func (d *descriptors) take(fd int, sa syscall.Sockaddr) {
	p := d.port
	c := newBare(p, fd, d.tcp, newInfo(d.local, addrPortOf(sa)))
	if !d.tcp {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_OOBINLINE, 1) // it inherits nothing
		if peer := peerCred(fd); d.peer == nil || peer == nil || *d.peer != *peer {
			d.peer = peer
		}
		c.info.Peer = d.peer
	}
	switch {
	case d.multi:
		prepareOwn(uintptr(fd))
	case d.early:
		p.prepare(uintptr(fd))
	}
	if d.tcp && !d.local.IsValid() {
		if sa, err := syscall.Getsockname(fd); err == nil {
			c.info.Local = addrPortOf(sa)
		}
	}
	if !p.admit(c) {
		return
	}
	r, first, err := p.peekAt(c, d.buf, false)
	if r != nil || err != nil {
		p.settle(c, r, first, err)
		return
	}
	c.seen = len(first)
	if !p.sniff.add(c) {
		c.Close()
	}
}
