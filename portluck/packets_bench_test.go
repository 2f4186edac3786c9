package portluck

import (
	"net"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/portluck/portluck/handlers/udp"
)

// silentPackets is a socket from which each of n addresses has sent one datagram.
type silentPackets struct {
	n, next int
	ready   chan struct{} // closed when all have
	end     chan struct{}
}

func (s *silentPackets) ReadFrom(p []byte) (int, net.Addr, error) {
	if s.next == s.n {
		if s.ready != nil {
			close(s.ready)
			s.ready = nil
		}
		<-s.end
		return 0, nil, net.ErrClosed
	}
	s.next++
	addr := netip.AddrFrom4([4]byte{10, byte(s.next >> 16), byte(s.next >> 8), byte(s.next)})
	return copy(p, "x"), net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr, 40000)), nil
}

func (s *silentPackets) WriteTo(p []byte, _ net.Addr) (int, error) { return len(p), nil }
func (s *silentPackets) Close() error {
	close(s.end)
	return nil
}

func (s *silentPackets) LocalAddr() net.Addr {
	return &net.UDPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 8100}
}
func (s *silentPackets) SetDeadline(time.Time) error      { return nil }
func (s *silentPackets) SetReadDeadline(time.Time) error  { return nil }
func (s *silentPackets) SetWriteDeadline(time.Time) error { return nil }

// BenchmarkSilentPackets measures the memory and the goroutines that a silent UDP client costs.
func BenchmarkSilentPackets(b *testing.B) {
	const clients = 100_000
	memory := func() (n uint64) {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapInuse + m.StackInuse
	}
	for b.Loop() {
		hub := &Hub{OnMessage: func(m Message, w *Writer, _ *Client) { _ = w.Send(m) }}
		s, conn := &Server{Hub: hub}, &silentPackets{ready: make(chan struct{}), end: make(chan struct{})}
		conn.n = clients
		goroutines, before := runtime.NumGoroutine(), memory()
		done, ready := make(chan error, 1), conn.ready
		// ends with Close
		go func() { done <- s.ServePacket(conn, &udp.Server{MaxClients: clients}) }()
		<-ready
		b.ReportMetric(float64(memory()-before)/clients, "B/client")
		b.ReportMetric(float64(runtime.NumGoroutine()-goroutines)/clients, "goroutines/client")
		if got := hub.Len(); got != clients {
			b.Fatalf("%d clients", got)
		}
		s.Close()
		<-done
		eventually(b, "all have gone", func() bool { return hub.Len() == 0 })
	}
}
