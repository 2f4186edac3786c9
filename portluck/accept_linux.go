package portluck

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/matchers"
	"golang.org/x/sys/unix"
)

// descriptors accepts bare descriptors from a listening socket. Keep-alive and no-delay are set
// once, on the listener: on Linux every connection accepted later inherits them.
type descriptors struct {
	port     *port
	file     *os.File // a duplicate of the listener's socket: a listener's own RawConn cannot wait
	raw      syscall.RawConn
	local    netip.AddrPort // of every connection; zero if they differ
	tcp      bool
	buf      []byte
	early    bool // the kernel may still hold connections that came before the listener was prepared
	multi    bool // the listener speaks multipath TCP, the default of net.Listen
	deferred bool // the kernel holds silent connections back (TCP_DEFER_ACCEPT)
	inRoot   bool // root's goroutine is accepting
	accept4  func(fd, flags int) (int, syscall.Sockaddr, error)
	peer     *handlers.Peer // of the last connection; consecutive connections of one process share it
	spare    int            // a reserve descriptor, freed for shedOne when the process has none left; -1 if closed
}

// newSource returns the fastest source for l.
func newSource(p *port, l net.Listener, shut func() error) source {
	if d := newDescriptors(p, l); d != nil {
		return d
	}
	return &listenerSource{port: p, l: l, shut: shut}
}

// newDescriptors returns a source that accepts from l directly, or nil if l is not a listening
// socket.
func newDescriptors(p *port, l net.Listener) *descriptors {
	d := &descriptors{port: p, accept4: syscall.Accept4} // unix.Accept4 costs another system call, for the protocol
	var dup func() (*os.File, error)
	switch l := l.(type) {
	case *net.TCPListener:
		dup, d.tcp = l.File, true
		if addr := handlers.AddrPort(l.Addr()); !addr.Addr().IsUnspecified() {
			d.local = addr
		}
	case *net.UnixListener:
		dup = l.File
	case *handlers.UnixListener:
		dup = l.File
	default:
		return nil
	}
	file, err := dup()
	if err != nil {
		return nil
	}
	raw, err := file.SyscallConn()
	if err != nil {
		file.Close()
		return nil
	}
	d.file, d.raw, d.buf, d.spare = file, raw, make([]byte, matchers.Window), openSpare()
	if d.tcp {
		_ = raw.Control(func(fd uintptr) {
			p.prepare(fd)
			protocol, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PROTOCOL)
			d.early, d.multi = true, err == nil && protocol == unix.IPPROTO_MPTCP
		})
		d.deferred = p.sniff.deferred && raw.Control(deferAccept) == nil
	}
	return d
}

// deferAccept makes the kernel hold each connection back until it has data, for at most deferTime,
// so that the connection can be classified as soon as it is accepted.
func deferAccept(fd uintptr) {
	_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, int(deferTime/time.Second))
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
	if t := p.srv.timeout(); t > 0 { // drop a peer that acknowledges nothing, even though our writes do not block
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
		_ = unix.SetsockoptInt(int(fd), o[0], o[1], o[2])
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
func (d *descriptors) accept(inRoot bool) error {
	d.inRoot = inRoot
	most := acceptBatch
	if inRoot {
		most = 1 // a second accept4 would mostly find none; root calls accept again
	}
	var accepted error
	err := d.raw.Read(func(fd uintptr) bool {
		accepted = d.acceptAll(int(fd), most)
		return !errors.Is(accepted, unix.EAGAIN)
	})
	if err != nil {
		return err
	}
	return accepted
}

// acceptAll accepts up to most connections. It returns EAGAIN if none is pending.
func (d *descriptors) acceptAll(fd, most int) error {
	for i := range most {
		nfd, sa, err := d.accept4(fd, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		switch err {
		case nil:
			d.take(nfd, sa)
		case unix.EINTR, unix.ECONNABORTED:
		case unix.EAGAIN:
			d.early = false
			if i > 0 {
				return nil
			}
			return err
		case unix.EMFILE, unix.ENFILE:
			d.shedOne(fd)
			return os.NewSyscallError("accept4", err)
		default:
			return os.NewSyscallError("accept4", err)
		}
	}
	return nil
}

// stop makes accept return. The socket keeps listening.
func (d *descriptors) stop(context.Context) { _ = d.file.SetReadDeadline(time.Unix(1, 0)) }

// start undoes stop.
func (d *descriptors) start() { _ = d.file.SetReadDeadline(time.Time{}) }

// rest accepts the connections that are still in the kernel's queue before the listener is closed.
func (d *descriptors) rest() {
	d.inRoot = false
	_ = d.raw.Control(func(fd uintptr) {
		for range acceptBatch {
			if err := d.acceptAll(int(fd), 1<<20); !isPeers(err) {
				return
			}
		}
	})
}

// close closes the duplicate and the reserve descriptor.
func (d *descriptors) close() {
	d.file.Close()
	if d.spare >= 0 {
		unix.Close(d.spare)
	}
}

// shedOne accepts one client and closes it at once, by freeing the reserve descriptor: the process
// has no other descriptor left.
func (d *descriptors) shedOne(fd int) {
	if d.spare < 0 {
		d.spare = openSpare()
		return
	}
	unix.Close(d.spare)
	if nfd, _, err := unix.Accept4(fd, unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK); err == nil {
		unix.Close(nfd)
	}
	d.spare = openSpare()
}

// take starts to classify an accepted descriptor.
func (d *descriptors) take(fd int, sa syscall.Sockaddr) {
	p := d.port
	c := &conn{
		port: p, inRoot: d.inRoot, eager: !d.tcp, sock: descriptor{fd, d.tcp}, info: newInfo(d.local, addrPortOf(sa)), sniffing: &sniffing{},
	}
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
	c.seen, c.inRoot = len(first), false
	if !p.sniff.add(c) {
		c.Close()
	}
}
