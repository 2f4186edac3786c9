//go:build linux

package udp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/portluck/portluck/handlers"
	"golang.org/x/net/ipv4"
)

// The benchmark measures the server alone: its clients run in another process, this test binary run
// again.

// clientEnv has the parameters of a client process: the address, how many datagrams, and how many
// each client has under way.
const clientEnv = "PORTLUCK_UDP_CLIENT"

func init() {
	work := os.Getenv(clientEnv)
	if work == "" {
		return
	}
	var addr string
	var n, window int
	_, err := fmt.Sscan(work, &addr, &n, &window)
	if err == nil {
		err = benchClients(addr, n, window)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// benchSockets is the number of clients.
const benchSockets = 16

// benchClients sends n datagrams of 64 bytes, up to window at once from each client, and waits for
// their echoes.
func benchClients(addr string, n, window int) error {
	var wg sync.WaitGroup
	errs := make(chan error, benchSockets)
	for range benchSockets {
		wg.Go(func() { errs <- benchClient(addr, n/benchSockets, window) })
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func benchClient(addr string, n, window int) error {
	c, err := net.Dial("udp4", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	out, in := make([]ipv4.Message, window), make([]ipv4.Message, window)
	for i := range window {
		out[i].Buffers, in[i].Buffers = [][]byte{make([]byte, 64)}, [][]byte{make([]byte, 128)}
	}
	conn := ipv4.NewPacketConn(c.(*net.UDPConn))
	lost := 0
	for sent := 0; sent < n; sent += window {
		for left := out; len(left) > 0; {
			k, err := conn.WriteBatch(left, 0)
			if err != nil {
				return err
			}
			left = left[k:]
		}
		_ = c.SetReadDeadline(time.Now().Add(time.Second))
		for got := 0; got < window; {
			k, err := conn.ReadBatch(in[:window-got], 0)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				lost += window - got
				break
			}
			if err != nil {
				return err
			}
			got += k
		}
	}
	if lost > n/100 {
		return fmt.Errorf("%d of %d datagrams were lost", lost, n)
	}
	return nil
}

// echoPort is the smallest hub that there can be.
type echoPort struct{ hub }

type echoClient struct{ s handlers.Stream }

func (*echoPort) Connect(_ *handlers.Info, s handlers.Stream) (handlers.Client, error) {
	return echoClient{s}, nil
}
func (c echoClient) Message(m handlers.Message) error { return c.s.Send(m.Data, m.Kind) }
func (c echoClient) Disconnect(error)                 {}

// plainLoop is an echo server without this package.
func plainLoop(pc *net.UDPConn) {
	buf := make([]byte, maxDatagram)
	for {
		n, from, err := pc.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		_, _ = pc.WriteToUDPAddrPort(buf[:n], from)
	}
}

// plainBatches is plainLoop with many datagrams per system call.
func plainBatches(pc *net.UDPConn) {
	conn := ipv4.NewPacketConn(pc)
	in := make([]ipv4.Message, 32)
	for i := range in {
		in[i].Buffers = [][]byte{make([]byte, maxDatagram)}
	}
	out := make([]ipv4.Message, 32)
	for {
		n, err := conn.ReadBatch(in, 0)
		if err != nil {
			return
		}
		for i := range n {
			out[i] = ipv4.Message{Buffers: [][]byte{in[i].Buffers[0][:in[i].N]}, Addr: in[i].Addr}
		}
		for left := out[:n]; len(left) > 0; {
			k, err := conn.WriteBatch(left, 0)
			if err != nil {
				return
			}
			left = left[k:]
		}
	}
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkEcho echoes datagrams of 64 bytes to 16 clients, with each server in turn, and reports
// the CPU time of a datagram: that of the plain loop in ns, those of the others as a ratio to it
// (medians).
func BenchmarkEcho(b *testing.B) {
	const datagrams = 64_000
	servers := []struct {
		name string
		run  func(b *testing.B, pc *net.UDPConn) (stop func())
	}{
		{"plain", func(_ *testing.B, pc *net.UDPConn) func() {
			go plainLoop(pc) // ends with pc
			return func() { pc.Close() }
		}},
		{"plain-batches", func(_ *testing.B, pc *net.UDPConn) func() {
			go plainBatches(pc) // ends with pc
			return func() { pc.Close() }
		}},
		{"udp-single", func(b *testing.B, pc *net.UDPConn) func() { return benchServer(b, &Server{Batch: 1}, pc) }},
		{"udp", func(b *testing.B, pc *net.UDPConn) func() { return benchServer(b, &Server{}, pc) }},
	}
	for _, window := range []int{1, 16} {
		b.Run(fmt.Sprintf("%d-in-flight", window), func(b *testing.B) {
			cpu, rate := map[string][]float64{}, map[string][]float64{}
			for b.Loop() {
				for _, s := range servers {
					pc, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
					if err != nil {
						b.Fatal(err)
					}
					_ = pc.SetReadBuffer(1 << 20) // as the server does
					stop := s.run(b, pc)
					used, began := cpuTime(), time.Now()
					cmd := exec.Command(os.Args[0], "-test.run=^$")
					cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d %d", clientEnv, pc.LocalAddr(), datagrams, window))
					if out, err := cmd.CombinedOutput(); err != nil {
						b.Fatalf("%s: %v\n%s", s.name, err, out)
					}
					cpu[s.name] = append(cpu[s.name], float64(cpuTime()-used)/datagrams)
					rate[s.name] = append(rate[s.name], datagrams/time.Since(began).Seconds())
					stop()
				}
			}
			b.ReportMetric(median(cpu["plain"]), "plain-cpu-ns")
			for _, s := range servers[1:] {
				b.ReportMetric(median(cpu[s.name])/median(cpu["plain"]), s.name+"-x")
			}
			for _, s := range servers {
				b.ReportMetric(median(rate[s.name])/1000, s.name+"-k/s")
			}
			b.Log(strings.TrimSpace(fmt.Sprintln(cpu)))
		})
	}
}

func benchServer(b *testing.B, s *Server, pc net.PacketConn) (stop func()) {
	done := make(chan error, 1)
	go func() { done <- s.ServePacket(pc, &echoPort{}) }() // ends with stop
	return func() {
		if err := s.Shutdown(b.Context()); err != nil {
			b.Error(err)
		}
		<-done
	}
}

func median(all []float64) float64 {
	slices.Sort(all)
	return all[len(all)/2]
}

// loopWire is a socket without a system: it always has datagrams, and drops what is sent.
type loopWire struct {
	left  int
	fresh bool // each datagram comes from another address
}

func (w *loopWire) prompt() bool { return true }

func (w *loopWire) read(in []arrival, _ bool) (int, error) {
	if w.left == 0 {
		return 0, net.ErrClosed
	}
	n := min(len(in), w.left)
	w.left -= n
	for i := range n {
		in[i].n, in[i].from = 64, netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(40000+i))
		if w.fresh {
			at := w.left + i
			in[i].from = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(at >> 16), byte(at >> 8), byte(at)}), uint16(40000+at>>24))
		}
	}
	return n, nil
}

func (w *loopWire) write(out []departure, _ bool) (int, error) { return len(out), nil }

// BenchmarkDatagram measures what a datagram and its echo cost, without the system calls.
func BenchmarkDatagram(b *testing.B) {
	b.Run("known", func(b *testing.B) { benchLoop(b, &Server{}, &loopWire{left: b.N}) })
	// A flood of forged sources while the table is full.
	b.Run("flood", func(b *testing.B) { benchLoop(b, &Server{MaxClients: 1000}, &loopWire{left: b.N, fresh: true}) })
}

func benchLoop(b *testing.B, s *Server, w *loopWire) {
	b.ReportAllocs()
	s.init()
	pc, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		b.Fatal(err)
	}
	k := newSocket(s, pc, &echoPort{})
	k.wire = w
	b.ResetTimer()
	k.read()
	<-k.over // another goroutine may read by now
	b.StopTimer()
	if err := s.Shutdown(b.Context()); err != nil {
		b.Fatal(err)
	}
	st := s.Stats()
	if int(st.Received) != b.N || st.Sent == 0 {
		b.Errorf("of %d datagrams: %+v", b.N, st)
	}
	// Less than 1 if it had to wait for a processor.
	b.ReportMetric(float64(st.Sent)/float64(b.N), "echoes/op")
}
