package mdns

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

const (
	mdnsPort  = 5353
	maxPacket = 9000 // RFC 6762, section 17
)

var (
	group4 = netip.MustParseAddrPort("224.0.0.251:5353")
	group6 = netip.MustParseAddrPort("[ff02::fb]:5353")
)

// link is a network interface in use.
type link struct {
	index int
	name  string
	addrs []netip.Addr // that are announced on it
	has4  bool         // the interface has an IPv4 address to send from, announced or not
	v4    *ipv4.PacketConn
	v6    *ipv6.PacketConn
	ended chan struct{} // closed when the link is

	records, types pendingAnswer
	broken         bool // the last message could not be sent
}

// packet is a packet that came over a link.
type packet struct {
	data    []byte
	from    netip.AddrPort
	ifindex int
}

// rescan opens links with interfaces that have come, and closes those with interfaces that have
// gone. It comes again after Rescan.
func (r *responder) rescan() {
	r.after(r.config.Rescan, r.rescan)
	list, err := net.Interfaces()
	if err != nil {
		r.reportFailure(err)
		return
	}
	seen := map[int]bool{}
	for _, ifi := range list {
		addrs, has4 := r.addresses(ifi)
		if len(addrs) == 0 {
			continue
		}
		seen[ifi.Index] = true
		switch l := r.links[ifi.Index]; {
		case l == nil:
			r.open(ifi, addrs, has4)
		case l.broken:
			l.close()
			delete(r.links, ifi.Index)
			r.open(ifi, addrs, has4)
		case l.has4 != has4, !slices.Equal(l.addrs, addrs):
			l.addrs, l.has4 = addrs, has4
			r.appear(l)
		}
	}
	for index, l := range r.links {
		if !seen[index] {
			l.close()
			delete(r.links, index)
			r.cache.unplug(index)
		}
	}
}

// addresses returns the addresses that are announced on an interface, none if it is not used. has4
// reports whether the interface has an IPv4 address at all.
func (r *responder) addresses(ifi net.Interface) (all []netip.Addr, has4 bool) {
	only := r.config.Addr.Addr()
	named := len(r.config.Interfaces) > 0
	switch {
	case ifi.Flags&net.FlagUp == 0:
		return nil, false
	// Linux does not set the flag on lo, where multicast works.
	case ifi.Flags&(net.FlagMulticast|net.FlagLoopback) == 0:
		return nil, false
	case named && !slices.Contains(r.config.Interfaces, ifi.Name):
		return nil, false
	}
	list, _ := ifi.Addrs() // it may be gone by now
	for _, a := range list {
		p, ok := a.(*net.IPNet)
		if !ok {
			continue
		}
		addr, _ := netip.AddrFromSlice(p.IP)
		addr = addr.Unmap()
		has4 = has4 || addr.Is4()
		if only.IsUnspecified() || addr == only.WithZone("") {
			all = append(all, addr)
		}
	}
	slices.SortFunc(all, netip.Addr.Compare)
	return all[:min(len(all), maxAddrs)], has4
}

// open opens a link with an interface.
func (r *responder) open(ifi net.Interface, addrs []netip.Addr, has4 bool) {
	l := &link{index: ifi.Index, name: ifi.Name, addrs: addrs, has4: has4, ended: make(chan struct{})}
	var errs []error
	if p4, err := listen4(&ifi); err != nil {
		errs = append(errs, err)
	} else {
		l.v4 = ipv4.NewPacketConn(p4)
		errs = append(errs, l.v4.SetMulticastInterface(&ifi), l.v4.SetMulticastTTL(255), l.v4.SetTTL(255), l.v4.SetMulticastLoopback(true))
		// Not all systems can do this. Then everything that comes is from this interface.
		_ = l.v4.SetControlMessage(ipv4.FlagInterface|ipv4.FlagDst, true)
		r.readers.Go(func() { r.read4(l) }) // ends when the link is closed
	}
	if p6, err := listen6(&ifi); err != nil {
		errs = append(errs, err)
	} else {
		l.v6 = ipv6.NewPacketConn(p6)
		errs = append(errs, l.v6.SetMulticastInterface(&ifi), l.v6.SetMulticastHopLimit(255), l.v6.SetHopLimit(255), l.v6.SetMulticastLoopback(true))
		_ = l.v6.SetControlMessage(ipv6.FlagInterface|ipv6.FlagDst, true)
		r.readers.Go(func() { r.read6(l) }) // ends when the link is closed
	}
	if l.v4 == nil && l.v6 == nil {
		r.reportFailure(errors.Join(errs...))
		return
	}
	r.links[l.index] = l
	r.appear(l)
}

// reportFailure reports an error of links, unless it was the last one too.
func (r *responder) reportFailure(err error) {
	if text := err.Error(); text != r.lastFailure {
		r.lastFailure = text
		r.events.Failed(err)
	}
}

func (l *link) close() {
	close(l.ended)
	if l.v4 != nil {
		l.v4.Close()
	}
	if l.v6 != nil {
		l.v6.Close()
	}
}

// send sends p to the group. If that fails, the next rescan opens the link again.
func (l *link) send(p []byte) {
	sent := false
	if l.v4 != nil && l.has4 {
		_, err := l.v4.WriteTo(p, nil, net.UDPAddrFromAddrPort(group4))
		sent = err == nil
	}
	if l.v6 != nil {
		to := netip.AddrPortFrom(group6.Addr().WithZone(l.name), mdnsPort)
		_, err := l.v6.WriteTo(p, nil, net.UDPAddrFromAddrPort(to))
		sent = sent || err == nil
	}
	l.broken = !sent
}

// sendTo sends p to the sender of a legacy query.
func (l *link) sendTo(p []byte, to netip.AddrPort) {
	if to.Addr().Is4() && l.v4 != nil {
		_, _ = l.v4.WriteTo(p, nil, net.UDPAddrFromAddrPort(to)) // it asks again
	} else if l.v6 != nil {
		_, _ = l.v6.WriteTo(p, nil, net.UDPAddrFromAddrPort(to))
	}
}

func (r *responder) read4(l *link) {
	buf := make([]byte, maxPacket)
	for {
		n, cm, from, err := l.v4.ReadFrom(buf)
		in := received{data: buf[:n], from: from, err: err}
		if cm != nil {
			in.index, in.to = cm.IfIndex, cm.Dst
		}
		if !r.deliver(l, in) {
			return
		}
	}
}

func (r *responder) read6(l *link) {
	buf := make([]byte, maxPacket)
	for {
		n, cm, from, err := l.v6.ReadFrom(buf)
		in := received{data: buf[:n], from: from, err: err}
		if cm != nil {
			in.index, in.to = cm.IfIndex, cm.Dst
		}
		if !r.deliver(l, in) {
			return
		}
	}
}

// received is what a ReadFrom has returned.
type received struct {
	data  []byte
	index int // of the interface; 0 if the system does not tell
	from  net.Addr
	to    net.IP // nil if the system does not tell
	err   error
}

// deliver hands in to the responder. It drops packets of other interfaces, and those to an address
// of this machine, which may come from beyond the link (RFC 6762, section 11). It reports false
// when the link is closed.
func (r *responder) deliver(l *link, in received) bool {
	udp, ok := in.from.(*net.UDPAddr)
	switch {
	case errors.Is(in.err, net.ErrClosed):
		return false
	case in.err != nil || !ok:
		select { // such as a network that is down: it may come again
		case <-l.ended:
			return false
		case <-time.After(100 * time.Millisecond):
			return true
		}
	case in.index != 0 && in.index != l.index, in.to != nil && !in.to.IsMulticast():
		return true
	}
	at := udp.AddrPort()
	p := packet{data: slices.Clone(in.data), from: netip.AddrPortFrom(at.Addr().Unmap(), at.Port()), ifindex: in.index}
	select {
	case r.packets <- p:
		return true
	case <-l.ended:
		return false
	}
}
