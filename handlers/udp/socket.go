package udp

import (
	"net"
	"net/netip"
	"time"

	"github.com/portluck/portluck/handlers"
)

// wire reads and writes a socket.
type wire interface {
	// read waits for at least one datagram, or with now takes only what has come. It is called by
	// one goroutine at a time.
	read(in []arrival, now bool) (n int, err error)
	// write sends the datagrams of out in order and returns how many it has sent; err is why it has
	// not sent the next one. Without wait it returns errWouldBlock rather than wait for the system,
	// if it can. It is called by one goroutine at a time.
	write(out []departure, wait bool) (n int, err error)
	// prompt says that write need not wait.
	prompt() bool
}

// arrival is a datagram that was read. Its buf is the reader's.
type arrival struct {
	buf  []byte
	n    int
	cut  bool // it was longer than buf
	from netip.AddrPort
	oob  []byte // says to which of our addresses it came
	path *path  // what that means; nil if the source is none to be answered
}

// departure is a datagram to be written.
type departure struct {
	data []byte
	to   netip.AddrPort
	from *path
}

// timeoutSoon is how long a socket that must wait to be read is asked for what has come already.
const timeoutSoon = 5 * time.Millisecond

// single reads and writes one datagram at a time, from any net.PacketConn.
type single struct{ pc net.PacketConn }

func (w *single) prompt() bool { return false }

func (w *single) read(in []arrival, now bool) (int, error) {
	a := &in[0]
	if now {
		if err := w.pc.SetReadDeadline(time.Now().Add(timeoutSoon)); err != nil {
			return 0, err // it would wait for ever
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
	six bool // IPv4 addresses are to be mapped to IPv6
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

// addrPort returns an address of package net as a netip.AddrPort; it is not valid if it is no IP
// address.
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
