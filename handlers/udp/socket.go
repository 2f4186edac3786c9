package udp

import (
	"net"
	"net/netip"
	"time"

	"github.com/portluck/portluck/handlers"
)

// wire reads from and writes to a socket.
type wire interface {
	// read waits for at least one datagram; with now it returns only what has come already. One
	// goroutine at a time calls it.
	read(in []arrival, now bool) (n int, err error)
	// write sends the datagrams of out in order and returns how many it has sent. If that is not all,
	// err is why the next one was not sent. Without wait, write returns errWouldBlock instead of
	// waiting for the system, if it can. One goroutine at a time calls it.
	write(out []departure, wait bool) (n int, err error)
	// prompt reports whether write without wait never waits.
	prompt() bool
}

// arrival is a datagram that was read. Its buf belongs to the reader.
type arrival struct {
	buf  []byte
	n    int
	cut  bool // it was longer than buf
	from netip.AddrPort
	oob  []byte // a control message with the address that it came to
	// path is the path of that address; nil if the source cannot be answered.
	path *path
}

// departure is a datagram to be written.
type departure struct {
	data []byte
	to   netip.AddrPort
	from *path
}

// timeoutSoon is how long a read with now waits on a socket that cannot be asked what has come.
const timeoutSoon = 5 * time.Millisecond

// single reads and writes one datagram at a time, from any net.PacketConn.
type single struct{ pc net.PacketConn }

func (w *single) prompt() bool { return false }

func (w *single) read(in []arrival, now bool) (int, error) {
	a := &in[0]
	if now {
		if err := w.pc.SetReadDeadline(time.Now().Add(timeoutSoon)); err != nil {
			return 0, err // without a deadline it could wait for ever
		}
	}
	n, from, err := w.pc.ReadFrom(a.buf)
	if err != nil {
		return 0, err
	}
	a.n, a.cut, a.from, a.oob = n, false, addrPort(from), a.oob[:0]
	return 1, nil
}

func (w *single) write(out []departure, _ bool) (int, error) {
	for i, d := range out {
		if _, err := w.pc.WriteTo(d.data, net.UDPAddrFromAddrPort(d.to)); err != nil {
			return i, err
		}
	}
	return len(out), nil
}

// plain reads and writes one datagram at a time, from a UDP socket.
type plain struct {
	pc  *net.UDPConn
	six bool // map IPv4 addresses to IPv6
}

func (w *plain) prompt() bool { return false }

func (w *plain) read(in []arrival, now bool) (int, error) {
	a := &in[0]
	if now {
		_ = w.pc.SetReadDeadline(time.Now().Add(timeoutSoon))
	}
	n, oobn, flags, from, err := w.pc.ReadMsgUDPAddrPort(a.buf, a.oob[:cap(a.oob)])
	if err != nil {
		return 0, err
	}
	a.n, a.cut, a.from, a.oob = n, flags&msgTrunc != 0, unmap(from), a.oob[:oobn]
	return 1, nil
}

func (w *plain) write(out []departure, _ bool) (int, error) {
	for i, d := range out {
		if _, _, err := w.pc.WriteMsgUDPAddrPort(d.data, d.from.oob, w.mapped(d.to)); err != nil {
			return i, err
		}
	}
	return len(out), nil
}

func (w *plain) mapped(a netip.AddrPort) netip.AddrPort {
	if w.six && a.Addr().Is4() {
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr().As16()), a.Port())
	}
	return a
}

func unmap(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }

// addrPort converts an address of package net. The result is not valid if a is not an IP address.
func addrPort(a net.Addr) netip.AddrPort {
	switch a.(type) {
	case nil, *net.UDPAddr:
		return handlers.AddrPort(a)
	}
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return netip.AddrPort{}
	}
	return unmap(ap)
}
