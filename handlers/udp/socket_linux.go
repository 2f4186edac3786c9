package udp

import (
	"errors"
	"net"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/net/ipv4"
)

const msgTrunc = syscall.MSG_TRUNC

// errWouldBlock is the error of a write that does not wait, if the system takes no more.
var errWouldBlock = syscall.EAGAIN

// newBatched returns a wire that reads and writes many datagrams with one system call.
func newBatched(pc *net.UDPConn, size int) wire {
	w := &batched{pc: pc, conn: ipv4.NewPacketConn(pc)}
	w.in, w.out = make([]ipv4.Message, size), make([]ipv4.Message, size)
	w.to = make([]net.UDPAddr, size)
	for i := range size {
		w.in[i].Buffers, w.out[i].Buffers = make([][]byte, 1), make([][]byte, 1)
		w.to[i].IP = make(net.IP, 16)
	}
	return w
}

// batched uses recvmmsg(2) and sendmmsg(2).
type batched struct {
	pc *net.UDPConn
	// of either family, as it only makes the system calls
	conn    *ipv4.PacketConn
	in, out []ipv4.Message
	to      []net.UDPAddr // the addresses of out
}

func (w *batched) prompt() bool { return true }

func (w *batched) read(in []arrival, now bool) (int, error) {
	all := w.in[:min(len(in), len(w.in))]
	for i := range all {
		all[i].Buffers[0], all[i].OOB = in[i].buf, in[i].oob[:cap(in[i].oob)]
	}
	flags := 0
	if now {
		_ = w.pc.SetReadDeadline(time.Time{})
		flags = syscall.MSG_DONTWAIT
	}
	n, err := w.conn.ReadBatch(all, flags)
	for i := range max(n, 0) {
		m := &all[i]
		in[i].n, in[i].cut, in[i].oob = m.N, m.Flags&msgTrunc != 0, m.OOB[:m.NN]
		in[i].from = addrPort(m.Addr)
	}
	if err != nil {
		return 0, err
	}
	return n, nil
}

func (w *batched) write(out []departure, wait bool) (sent int, err error) {
	flags := syscall.MSG_DONTWAIT
	if wait {
		flags = 0
	}
	for sent < len(out) {
		some := out[sent:min(len(out), sent+len(w.out))]
		for i, d := range some {
			w.out[i].Buffers[0], w.out[i].OOB, w.out[i].Addr = d.data, d.from.oob, w.addr(i, d.to)
		}
		n, err := w.conn.WriteBatch(w.out[:len(some)], flags)
		for i := range some {
			w.out[i].Buffers[0], w.out[i].OOB = nil, nil
		}
		sent += max(n, 0)
		switch {
		case errors.Is(err, errWouldBlock):
			return sent, errWouldBlock
		case err != nil:
			return sent, err
		}
	}
	return sent, nil
}

// addr returns to as the address of the i-th datagram of a batch.
func (w *batched) addr(i int, to netip.AddrPort) *net.UDPAddr {
	a := &w.to[i]
	ip := to.Addr().As16()
	a.IP = append(a.IP[:0], ip[:]...)
	a.Port, a.Zone = int(to.Port()), to.Addr().Zone()
	return a
}
