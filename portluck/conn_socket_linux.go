package portluck

import (
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/portluck/portluck/handlers"
	"golang.org/x/sys/unix"
)

// descriptor is a bare socket descriptor that Go's poller does not know.
type descriptor struct {
	fd  int
	tcp bool
}

// newBare returns the connection of a descriptor, in one allocation.
func newBare(p *port, fd int, tcp bool, info handlers.Info) *conn {
	all := &struct {
		conn       conn
		sniffing   sniffing
		descriptor descriptor
	}{conn: conn{port: p, eager: !tcp, info: info}, descriptor: descriptor{fd, tcp}}
	c := &all.conn
	c.sniffing, c.sock = &all.sniffing, &all.descriptor
	return c
}

func (d *descriptor) netConn() (net.Conn, error) {
	f := os.NewFile(uintptr(d.fd), "")
	defer f.Close() // net.FileConn duplicates it
	return net.FileConn(f)
}

func (d *descriptor) form() handlers.Socket { return handlers.Socket{FD: d.fd} }
func (d *descriptor) kill()                 { _ = unix.Shutdown(d.fd, unix.SHUT_RDWR) }
func (d *descriptor) Close() error          { return os.NewSyscallError("close", unix.Close(d.fd)) }

// fd returns the descriptor of a connection that is still bare, for the sniffer.
func (c *conn) fd() (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if d, ok := c.sock.(*descriptor); ok && !c.closed {
		return d.fd, nil
	}
	return -1, net.ErrClosed
}

// sayFarewell sends c.farewell to the client before it is dropped, if the kernel takes it at once.
// It then discards what has come, as closing with unread bytes would reset the connection.
func (c *conn) sayFarewell() {
	fd, err := c.fd()
	if err != nil {
		return
	}
	if len(c.farewell) > 0 {
		_, _ = unix.SendmsgN(fd, c.farewell, nil, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
	}
	_ = unix.Shutdown(fd, unix.SHUT_WR)
	buf := make([]byte, 4<<10)
	for range 8 {
		if n, _, err := unix.Recvfrom(fd, buf, unix.MSG_DONTWAIT); n <= 0 || err != nil {
			return
		}
	}
}

// addrPortOf returns the address in sa, or zero for a Unix socket.
func addrPortOf(sa syscall.Sockaddr) netip.AddrPort {
	switch sa := sa.(type) {
	case *syscall.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *syscall.SockaddrInet6:
		addr := netip.AddrFrom16(sa.Addr).Unmap()
		if sa.ZoneId != 0 {
			addr = addr.WithZone(zoneName(int(sa.ZoneId)))
		}
		return netip.AddrPortFrom(addr, uint16(sa.Port))
	}
	return netip.AddrPort{}
}

// peerCred returns the credentials of the peer of a Unix socket, or nil if fd is not one.
func peerCred(fd int) *handlers.Peer {
	c, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return nil
	}
	return &handlers.Peer{PID: int(c.Pid), UID: int(c.Uid), GID: int(c.Gid)}
}

// learnPeer sets info.Peer if nc is a Unix socket.
func learnPeer(nc net.Conn, info *handlers.Info) {
	u, ok := nc.(*net.UnixConn)
	if !ok {
		return
	}
	if raw, err := u.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { info.Peer = peerCred(int(fd)) })
	}
}

// zoneName returns the name of a network interface as package net prints it in addresses, or its
// number if it has no name.
func zoneName(index int) string {
	now := time.Now()
	if z, ok := zones.Load(index); ok && now.Before(z.(zone).until) {
		return z.(zone).name
	}
	name := strconv.Itoa(index)
	if i, err := net.InterfaceByIndex(index); err == nil {
		name = i.Name
	}
	zones.Store(index, zone{name, now.Add(time.Minute)})
	return name
}

// zones caches interface names for a minute: a lookup lists all interfaces.
var zones sync.Map // of int to zone

type zone struct {
	name  string
	until time.Time
}

// hasUnread reports whether the kernel holds unread bytes of nc or of the connection below it.
func hasUnread(nc net.Conn) bool {
	for {
		if s, ok := nc.(syscall.Conn); ok {
			return hasBytes(s)
		}
		below, ok := nc.(interface{ NetConn() net.Conn })
		if !ok {
			return false
		}
		nc = below.NetConn()
	}
}

func hasBytes(s syscall.Conn) (yes bool) {
	raw, err := s.SyscallConn()
	if err != nil {
		return false
	}
	_ = raw.Control(func(fd uintptr) {
		n, err := recvPeek(int(fd), make([]byte, 1))
		yes = n > 0 && err == nil
	})
	return yes
}
