package portluck

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/udp"
)

// servePackets serves s over TCP and UDP on one port until the test ends.
func servePackets(t testing.TB, s *Server, u *udp.Server) (addr string) {
	t.Helper()
	s.Packets = u
	listeners, packets, err := s.listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	t.Cleanup(func() {
		if err := <-done; !errors.Is(err, ErrServerClosed) {
			t.Errorf("ServePacket() = %v, want ErrServerClosed", err)
		}
	})
	serveOn(t, s, listeners[0])
	go func() { done <- s.ServePacket(packets[0], u) }() // ends with the server
	return listeners[0].Addr().String()
}

func dialUDP(t testing.TB, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	return c
}

// receive reads one datagram.
func receive(t testing.TB, c net.Conn) string {
	t.Helper()
	buf := make([]byte, 1<<16)
	n, err := c.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	return string(buf[:n])
}

// The same port number serves TCP and UDP, with the same events.
func TestPackets(t *testing.T) {
	hub, e := record(echo)
	verdicts := make(chan string, 10)
	s := &Server{Hub: hub, OnVerdict: func(v Verdict) { verdicts <- v.Route + " " + v.Info.Remote.String() }}
	addr := servePackets(t, s, &udp.Server{})
	c := dialUDP(t, addr)
	for _, msg := range []string{"hello", "", "two\nlines\n"} {
		send(t, c, msg)
		if got := receive(t, c); got != msg {
			t.Errorf("%q comes back as %q", msg, got)
		}
	}
	if got, want := <-verdicts, "udp "+c.LocalAddr().String(); got != want {
		t.Errorf("the verdict is %q, want %q", got, want)
	}
	tcp := dial(t, addr)
	send(t, tcp, "over tcp\n")
	expect(t, tcp, "over tcp\n")
	e.want(t, "connect udp", "message hello", "message ", "message two\nlines\n", "connect tcp", "message over tcp")
	for _, client := range hub.Clients() {
		if client.Protocol() != "udp" {
			continue
		}
		if got, want := client.Remote().String(), c.LocalAddr().String(); got != want || client.Local().String() != addr || client.Scheme() != "udp" {
			t.Errorf("it is %s from %s to %s, want %s to %s", client.Scheme(), got, client.Local(), want, addr)
		}
		if err := client.Writer().End(); err != nil {
			t.Errorf("End() = %v", err)
		}
	}
	if got := e.waitFor(7); got[6] != "disconnect udp" {
		t.Errorf("events %q", got)
	}
}

// A message of a room reaches clients of UDP as one datagram each, beside those of TCP.
func TestPacketsInRooms(t *testing.T) {
	hub := &Hub{}
	hub.OnConnect = func(_ *Writer, c *Client) { _ = hub.Room("lobby").Join(c) }
	hub.OnMessage = func(m Message, _ *Writer, _ *Client) { hub.Room("lobby").Publish(m) }
	addr := servePackets(t, &Server{Hub: hub}, &udp.Server{})
	one, two, tcp := dialUDP(t, addr), dialUDP(t, addr), dial(t, addr)
	send(t, one, "first")
	if got := receive(t, one); got != "first" {
		t.Errorf("got %q", got)
	}
	send(t, two, "second")
	for _, c := range []net.Conn{one, two} {
		if got := receive(t, c); got != "second" {
			t.Errorf("got %q", got)
		}
	}
	send(t, tcp, "third\n")
	expect(t, tcp, "third\n")
	for range 100 {
		hub.Room("lobby").Publish(TextMessage("more"))
	}
	for _, c := range []net.Conn{one, two} {
		if got := receive(t, c); got != "third" {
			t.Errorf("got %q", got)
		}
		for i := range 100 {
			if got := receive(t, c); got != "more" {
				t.Fatalf("got %q as number %d", got, i)
			}
		}
	}
	hub.Broadcast(TextMessage("all"))
	if a, b := receive(t, one), receive(t, two); a != "all" || b != "all" {
		t.Errorf("got %q, %q", a, b)
	}
	if got := hub.Room("lobby").Stats(); got.Slow != 0 || got.Missed != 0 {
		t.Errorf("Stats() = %+v", got)
	}
}

// A panic in a callback, or a callback that blocks, costs one client.
func TestPacketsCallbacks(t *testing.T) {
	block := make(chan struct{})
	hub, e := record(nil)
	hub.OnMessage = func(m Message, w *Writer, _ *Client) {
		switch m.String() {
		case "panic":
			panic("no")
		case "block":
			<-block
		}
		_ = w.Send(m)
	}
	addr := servePackets(t, &Server{Hub: hub}, &udp.Server{})
	bad, stuck, good := dialUDP(t, addr), dialUDP(t, addr), dialUDP(t, addr)
	send(t, stuck, "block")
	send(t, bad, "panic")
	send(t, good, "hello")
	if got := receive(t, good); got != "hello" {
		t.Errorf("got %q", got)
	}
	close(block)
	if got := receive(t, stuck); got != "block" {
		t.Errorf("got %q", got)
	}
	eventually(t, "the one that panics is disconnected", func() bool {
		return strings.Contains(strings.Join(e.all(), "|"), "disconnect udp: callback panicked")
	})
	send(t, bad, "again")
	if got := receive(t, bad); got != "again" {
		t.Errorf("got %q", got)
	}
}

// Shutdown serves the datagrams that were sent before it, and disconnects each client once.
func TestPacketsShutdown(t *testing.T) {
	hub, e := record(echo)
	s, u := &Server{Hub: hub}, &udp.Server{}
	pc := must(net.ListenPacket("udp", "127.0.0.1:0"))
	done := make(chan error, 1)
	go func() { done <- s.ServePacket(pc, u) }() // ends with the server
	c := dialUDP(t, pc.LocalAddr().String())
	send(t, c, "1")
	if got := receive(t, c); got != "1" {
		t.Errorf("got %q", got)
	}
	for i := range 50 {
		send(t, c, fmt.Sprint(i))
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		t.Errorf("Shutdown() = %v", err)
	}
	if err := <-done; !errors.Is(err, ErrServerClosed) {
		t.Errorf("ServePacket() = %v", err)
	}
	for i := range 50 {
		if got := receive(t, c); got != fmt.Sprint(i) {
			t.Fatalf("got %q, want %d", got, i)
		}
	}
	all := e.all()
	if len(all) != 1+51+1 || all[52] != "disconnect udp: server is shutting down" {
		t.Errorf("events %q", all)
	}
	if err := s.ServePacket(must(net.ListenPacket("udp", "127.0.0.1:0")), u); !errors.Is(err, ErrServerClosed) {
		t.Errorf("ServePacket() = %v after Shutdown", err)
	}
}

// Close, or a Shutdown that takes too long, ends at once.
func TestPacketsClose(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"Close", "Shutdown"} {
		t.Run(how, func(t *testing.T) {
			hub, e := record(nil)
			block := make(chan struct{})
			hub.OnMessage = func(Message, *Writer, *Client) { <-block }
			s := &Server{Hub: hub}
			pc := must(net.ListenPacket("udp", "127.0.0.1:0"))
			done := make(chan error, 1)
			go func() { done <- s.ServePacket(pc, &udp.Server{}) }() // ends with the server
			send(t, dialUDP(t, pc.LocalAddr().String()), "block")
			e.waitFor(1)
			if how == "Close" {
				if err := s.Close(); err != nil {
					t.Errorf("Close() = %v", err)
				}
			} else {
				ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
				defer cancel()
				if err := s.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("Shutdown() = %v", err)
				}
			}
			if err := <-done; !errors.Is(err, ErrServerClosed) {
				t.Errorf("ServePacket() = %v", err)
			}
			close(block)
			e.want(t, "connect udp", "disconnect udp: server is shutting down")
		})
	}
}

// ServePacket returns the error of a socket that fails, or of a handler that the program has shut
// down itself.
func TestPacketsFail(t *testing.T) {
	s, u := &Server{}, &udp.Server{}
	pc := must(net.ListenPacket("udp", "127.0.0.1:0"))
	pc.Close()
	if err := s.ServePacket(pc, u); !errors.Is(err, net.ErrClosed) || errors.Is(err, ErrServerClosed) {
		t.Errorf("ServePacket() = %v", err)
	}
	if err := u.Close(); err != nil {
		t.Errorf("Close() = %v", err)
	}
	if err := s.ServePacket(must(net.ListenPacket("udp", "127.0.0.1:0")), u); !errors.Is(err, udp.ErrServerClosed) {
		t.Errorf("ServePacket() = %v", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("Close() = %v", err)
	}
}

// ListenAndServe listens on the same port over TCP and UDP, of 127.0.0.1 and ::1.
func TestListenAndServePackets(t *testing.T) {
	t.Parallel()
	for range 10 {
		if listenAndServePackets(t) {
			return
		}
	}
	t.Error("somebody has taken each port")
}

// listenAndServePackets returns false if another process has taken the port that it found free.
func listenAndServePackets(t *testing.T) bool {
	hub, _ := record(echo)
	s := &Server{Hub: hub, Packets: &udp.Server{}}
	listeners, packets, err := s.listen("localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	if len(packets) != len(listeners) {
		t.Errorf("%d listeners and %d sockets", len(listeners), len(packets))
	}
	s.Addr = "localhost:" + fmt.Sprint(handlers.AddrPort(listeners[0].Addr()).Port())
	if _, err := ListenPackets(listeners); !isAddrInUse(err) {
		t.Errorf("ListenPackets() = %v, want that the address is in use", err)
	}
	var hosts []string
	for i := range listeners {
		hosts = append(hosts, listeners[i].Addr().String())
		if got, want := packets[i].LocalAddr().String(), hosts[i]; got != want {
			t.Errorf("the socket is on %s, want %s", got, want)
		}
		listeners[i].Close()
		packets[i].Close()
	}
	done := make(chan error, 1)
	go func() { done <- s.ListenAndServe() }() // ends with Shutdown
	for _, host := range hosts {
		eventually(t, host+" answers", func() bool {
			if len(done) > 0 {
				return true
			}
			c := dialUDP(t, host)
			_ = c.SetDeadline(time.Now().Add(100 * time.Millisecond))
			_, _ = c.Write([]byte("x"))
			n, err := c.Read(make([]byte, 9))
			return err == nil && n == 1
		})
		if len(done) > 0 {
			err := <-done
			if !isAddrInUse(err) {
				t.Fatalf("ListenAndServe() = %v", err)
			}
			return false
		}
		tcp := dial(t, host)
		send(t, tcp, "y\n")
		expect(t, tcp, "y\n")
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Errorf("Shutdown() = %v", err)
	}
	if err := <-done; !errors.Is(err, ErrServerClosed) {
		t.Errorf("ListenAndServe() = %v", err)
	}
	return true
}

// A Unix socket has no UDP beside it.
func TestListenPacketsUnix(t *testing.T) {
	l, err := net.Listen("unix", t.TempDir()+"/sock")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if all, err := ListenPackets([]net.Listener{l}); len(all) != 0 || err != nil {
		t.Errorf("ListenPackets() = %v, %v", all, err)
	}
}
