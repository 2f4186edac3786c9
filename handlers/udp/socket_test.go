package udp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/testdata/need"
)

// generous is how long tests with real sockets wait on a busy machine.
const generous = time.Minute

// serve serves s on a real socket until the test ends.
func serve(t testing.TB, s *Server, h handlers.Port, network, addr string) netip.AddrPort {
	t.Helper()
	pc, err := net.ListenPacket(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	serveOn(t, s, h, pc)
	return addrPort(pc.LocalAddr())
}

func serveOn(t testing.TB, s *Server, h handlers.Port, pc net.PacketConn) {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- s.ServePacket(pc, h) }() // ends with Shutdown
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), generous)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown() = %v", err)
		}
		if err := <-done; !errors.Is(err, ErrServerClosed) {
			t.Errorf("ServePacket() = %v", err)
		}
	})
}

func dial(t testing.TB, network, addr string) *net.UDPConn {
	t.Helper()
	c, err := net.Dial(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(generous))
	return c.(*net.UDPConn)
}

// ask sends a datagram and returns the answer.
func ask(t testing.TB, c *net.UDPConn, msg string) string {
	t.Helper()
	if _, err := c.Write([]byte(msg)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, maxDatagram)
	n, err := c.Read(buf)
	if err != nil {
		t.Fatalf("after %.20q: %v", msg, err)
	}
	return string(buf[:n])
}

// wires are the ways to read and write a real socket: many datagrams at a time, one at a time, and
// one at a time of any net.PacketConn.
var wires = []struct {
	name  string
	batch int
	wrap  func(pc net.PacketConn) net.PacketConn
}{
	{"batched", 0, func(pc net.PacketConn) net.PacketConn { return pc }},
	{"single", 1, func(pc net.PacketConn) net.PacketConn { return pc }},
	{"any", 0, func(pc net.PacketConn) net.PacketConn { return struct{ net.PacketConn }{pc} }},
}

func TestEcho(t *testing.T) {
	for _, w := range wires {
		for _, network := range []string{"udp4 127.0.0.1:0", "udp6 [::1]:0", "udp :0"} {
			t.Run(w.name+" "+network, func(t *testing.T) {
				network, listen, _ := strings.Cut(network, " ")
				if network == "udp6" {
					need.IPv6(t)
				}
				pc, err := net.ListenPacket(network, listen)
				if err != nil {
					t.Fatal(err)
				}
				h := &hub{message: echo}
				serveOn(t, &Server{Batch: w.batch}, h, w.wrap(pc))
				port := addrPort(pc.LocalAddr()).Port()
				var clients []*net.UDPConn
				for _, host := range []string{"127.0.0.1", "127.0.0.2", "[::1]"} {
					if network == "udp" && w.name != "any" || strings.HasPrefix(listen, host) {
						clients = append(clients, dial(t, "udp", fmt.Sprintf("%s:%d", host, port)))
					}
				}
				for _, c := range clients { // they accept answers only from where they have sent to
					for _, msg := range []string{"hello", "", "\x00\xff", strings.Repeat("x", 1400), strings.Repeat("y", 65507)} {
						if got := ask(t, c, msg); got != msg {
							t.Errorf("%v: %.20q (%d bytes) comes back as %.20q (%d)", c.RemoteAddr(), msg, len(msg), got, len(got))
						}
					}
					info := h.client().info
					if w.name != "any" && info.Local != addrPort(c.RemoteAddr()) || info.Remote != addrPort(c.LocalAddr()) {
						t.Errorf("info = %v to %v, want %v to %v", info.Remote, info.Local, c.LocalAddr(), c.RemoteAddr())
					}
				}
			})
		}
	}
}

// A datagram that is longer than the limit is noticed.
func TestTruncated(t *testing.T) {
	for _, w := range wires {
		t.Run(w.name, func(t *testing.T) {
			pc, err := net.ListenPacket("udp4", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			var told atomic.Int64
			s := &Server{Batch: w.batch, MessageLimit: 100, OnError: func(_ netip.AddrPort, err error) {
				if errors.Is(err, handlers.ErrTooLong) {
					told.Add(1)
				}
			}}
			serveOn(t, s, &hub{message: echo}, w.wrap(pc))
			c := dial(t, "udp", pc.LocalAddr().String())
			for _, n := range []int{101, 102, 5000, 65507} {
				if _, err := c.Write(make([]byte, n)); err != nil {
					t.Fatal(err)
				}
			}
			msg := strings.Repeat("x", 100)
			if got := ask(t, c, msg); got != msg {
				t.Errorf("%d bytes come back, want 100", len(got))
			}
			if st := s.Stats(); st.TooLong != 4 || told.Load() != 4 {
				t.Errorf("%d were told; %+v", told.Load(), st)
			}
		})
	}
}

// Many clients at once get their own answers, in order, while some callbacks are slow and some
// clients come and go.
func TestManyClients(t *testing.T) {
	t.Parallel()
	for _, w := range wires {
		t.Run(w.name, func(t *testing.T) {
			pc, err := net.ListenPacket("udp4", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			var n, connects, leaves atomic.Int64
			h := &hub{}
			h.connect = func(*hubClient) error { connects.Add(1); return nil }
			h.leave = func(*hubClient, error) { leaves.Add(1) }
			h.message = func(c *hubClient, m string) error {
				switch {
				case m == "end":
					return c.End()
				case n.Add(1)%200 == 0:
					<-time.After(15 * time.Millisecond) // longer than patience
				}
				return echo(c, m)
			}
			s := &Server{Batch: w.batch}
			serveOn(t, s, h, w.wrap(pc))
			var wg sync.WaitGroup
			for i := range 20 {
				wg.Go(func() { // ends after its messages
					c := dial(t, "udp", pc.LocalAddr().String())
					for j := range 200 {
						msg := fmt.Sprintf("%d-%d", i, j)
						if got := ask(t, c, msg); got != msg {
							t.Errorf("%q comes back as %q", msg, got)
							return
						}
						if j%50 == 49 {
							_, _ = c.Write([]byte("end"))
						}
					}
				})
			}
			wg.Wait()
			if err := s.Shutdown(t.Context()); err != nil {
				t.Errorf("Shutdown() = %v", err)
			}
			if c, l := connects.Load(), leaves.Load(); c != l || c < 80 {
				t.Errorf("%d have connected and %d left, of 80", c, l)
			}
			for _, e := range h.events() {
				if strings.HasSuffix(e, "twice") {
					t.Error(e)
				}
			}
		})
	}
}

// Programs may send to a client, and end it, from any goroutine.
func TestConcurrentSends(t *testing.T) {
	h := &hub{message: echo}
	addr := serve(t, &Server{}, h, "udp4", "127.0.0.1:0")
	c := dial(t, "udp", addr.String())
	ask(t, c, "hello")
	client := h.client()
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 10 { // as many as the peer's system can keep
				_ = client.Send([]byte{byte('a' + i)}, handlers.Auto)
				_ = client.TrySend([]byte{byte('A' + i)}, handlers.Auto)
			}
		})
	}
	got := map[byte]int{}
	buf := make([]byte, 100)
	for range 8 * 2 * 10 {
		if n, err := c.Read(buf); err != nil || n != 1 {
			t.Fatalf("after %v: %q, %v", got, buf[:n], err)
		}
		got[buf[0]]++
	}
	wg.Wait()
	for b, n := range got {
		if n != 10 {
			t.Errorf("%c came %d times", b, n)
		}
	}
	for range 4 {
		wg.Go(func() { _ = client.End(); client.Destroy() })
	}
	wg.Wait()
	if got := ask(t, c, "a new client"); got != "a new client" {
		t.Errorf("got %q", got)
	}
}

// If a client's port is closed (ICMP: port unreachable), the server goes on serving the others.
func TestClientHasGone(t *testing.T) {
	h := &hub{message: echo}
	addr := serve(t, &Server{}, h, "udp4", "127.0.0.1:0")
	gone := dial(t, "udp", addr.String())
	ask(t, gone, "hello")
	client := h.client()
	gone.Close()
	c := dial(t, "udp", addr.String())
	for i := range 20 {
		_ = client.Send([]byte("is there anybody"), handlers.Auto)
		if msg := fmt.Sprint(i); ask(t, c, msg) != msg {
			t.Errorf("%s did not come back", msg)
		}
	}
}

// TRAPS part 2, row 20: the bytes and datagrams that come from sources that are not validated, and
// those that are sent to them, are counted.
func TestSpoofHarness(t *testing.T) {
	pc, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := &hub{}
	h.message = func(c *hubClient, m string) error {
		for range 20 {
			_ = c.Send([]byte(strings.Repeat(m, 5)), handlers.Auto)
			_ = c.Send(nil, handlers.Auto)
		}
		_ = c.Send([]byte("over"), handlers.Auto)
		return nil
	}
	s := &Server{UnvalidatedRate: -1}
	serveOn(t, s, h, &disguised{PacketConn: pc})
	c := dial(t, "udp", pc.LocalAddr().String())
	in, sizes := 0, []int{0, 1, 2, 10, 100, 1400}
	for _, n := range sizes {
		in += n
		if _, err := c.Write(make([]byte, n)); err != nil {
			t.Fatal(err)
		}
	}
	for late := time.Now().Add(generous); s.Stats().Received < uint64(len(sizes)) && time.Now().Before(late); {
		<-time.After(time.Millisecond)
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	st := s.Stats()
	if st.BytesIn != uint64(in) || st.BytesOut > 3*st.BytesIn || st.Sent > 3*st.Received || st.Sent == 0 {
		t.Errorf("%d bytes in %d datagrams came, and %d in %d went out", st.BytesIn, st.Received, st.BytesOut, st.Sent)
	}
	t.Logf("%d bytes in %d datagrams came, and %d in %d went out", st.BytesIn, st.Received, st.BytesOut, st.Sent)
}

// disguised makes loopback addresses look like those of another network.
type disguised struct{ net.PacketConn }

func (d *disguised) ReadFrom(p []byte) (int, net.Addr, error) {
	n, a, err := d.PacketConn.ReadFrom(p)
	if u, ok := a.(*net.UDPAddr); ok {
		a = &net.UDPAddr{IP: net.IPv4(203, 0, 113, 1), Port: u.Port}
	}
	return n, a, err
}

func (d *disguised) WriteTo(p []byte, a net.Addr) (int, error) {
	return d.PacketConn.WriteTo(p, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: a.(*net.UDPAddr).Port})
}
