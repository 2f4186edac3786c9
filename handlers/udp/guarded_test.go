package udp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/portluck/portluck/handlers"
)

// panicking is a socket one of whose methods panics, always or once.
type panicking struct {
	net.PacketConn
	method string
	after  int // calls before the panic

	mu    sync.Mutex
	calls int
}

func (p *panicking) call(method string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.method == method {
		if p.calls++; p.calls > p.after {
			panic("of the program")
		}
	}
}

func (p *panicking) ReadFrom(b []byte) (int, net.Addr, error) {
	p.call("ReadFrom")
	n, from, err := p.PacketConn.ReadFrom(b)
	switch p.method {
	case "Addr":
		from = badAddr{}
	case "too much":
		n = len(b) + 1
	}
	return n, from, err
}

func (p *panicking) WriteTo(b []byte, to net.Addr) (int, error) {
	p.call("WriteTo")
	return p.PacketConn.WriteTo(b, to)
}

func (p *panicking) LocalAddr() net.Addr {
	p.call("LocalAddr")
	return p.PacketConn.LocalAddr()
}

func (p *panicking) Close() error {
	err := p.PacketConn.Close()
	p.call("Close")
	return err
}

func (p *panicking) SetReadDeadline(t time.Time) error {
	err := p.PacketConn.SetReadDeadline(t)
	p.call("SetReadDeadline")
	return err
}

func (p *panicking) SetWriteDeadline(t time.Time) error {
	p.call("SetWriteDeadline")
	return p.PacketConn.SetWriteDeadline(t)
}

// badAddr is an address that the program has made.
type badAddr struct{}

func (badAddr) Network() string { return "x" }
func (badAddr) String() string  { panic("of the program") }

// A panic in a method of a socket that the program has made is an error of the socket.
func TestSocketPanics(t *testing.T) {
	tests := []struct {
		method string
		after  int
		fails  bool // ServePacket returns an error
	}{
		{"ReadFrom", 0, true},
		{"ReadFrom", 1, true},
		{"Addr", 0, true},
		{"too much", 0, true},
		{"WriteTo", 0, false},
		{"LocalAddr", 0, false},
		{"Close", 0, false},
		{"SetReadDeadline", 0, false},
		{"SetWriteDeadline", 0, false},
	}
	for _, tt := range tests {
		t.Run(tt.method, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := &hub{message: echo}
				s, inner := &Server{}, newFakeConn()
				done := make(chan error, 1)
				go func() { // ends with Shutdown, or with the socket
					done <- s.ServePacket(&panicking{PacketConn: inner, method: tt.method, after: tt.after}, h)
				}()
				synctest.Wait()
				inner.push(near, "a")
				synctest.Wait()
				inner.push(near, "b")
				synctest.Wait()
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				if err := s.Shutdown(ctx); err != nil {
					t.Errorf("Shutdown() = %v", err)
				}
				err := <-done
				if tt.fails != errors.Is(err, handlers.ErrPanic) || !tt.fails && err != ErrServerClosed {
					t.Errorf("ServePacket() = %v", err)
				}
				if err != nil && strings.Contains(err.Error(), "of the program") {
					t.Errorf("%q tells the value of the panic", err)
				}
				if sent := inner.sent(); !tt.fails && tt.method != "WriteTo" && len(sent) != 2 {
					t.Errorf("%q was sent", sent)
				}
			})
		})
	}
}

// deadless is a socket whose read deadlines have no effect. Setting one returns set.
type deadless struct {
	net.PacketConn
	set func() error
}

func (d *deadless) SetReadDeadline(time.Time) error { return d.set() }

// A socket without working deadlines does not block Shutdown: what has come is answered, and every
// client is disconnected.
func TestShutdownWithoutDeadlines(t *testing.T) {
	for name, set := range map[string]func() error{
		"panic":     func() error { panic("of the program") },
		"error":     func() error { return errors.ErrUnsupported },
		"no effect": func() error { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := &hub{message: echo}
				s, inner := &Server{}, newFakeConn()
				done := make(chan error, 1)
				go func() { // ends with Shutdown
					done <- s.ServePacket(&deadless{inner, set}, h)
				}()
				inner.push(near, "a")
				synctest.Wait()
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				if err := s.Shutdown(ctx); err != nil {
					t.Errorf("Shutdown() = %v", err)
				}
				if err := <-done; err != ErrServerClosed {
					t.Errorf("ServePacket() = %v", err)
				}
				if sent := inner.sent(); len(sent) != 1 {
					t.Errorf("%q was sent", sent)
				}
				if n := s.Stats().Clients; n != 0 {
					t.Errorf("%d clients are left", n)
				}
			})
		})
	}
}

// exiting is a socket whose Read ends its goroutine after the first datagram.
type exiting struct {
	net.PacketConn
	reads int
}

func (e *exiting) ReadFrom(p []byte) (int, net.Addr, error) {
	if e.reads++; e.reads > 1 {
		runtime.Goexit()
	}
	return e.PacketConn.ReadFrom(p)
}

// A socket whose Read ends its goroutine has failed.
func TestReadEndsTheGoroutine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &hub{message: echo}
		s, inner := &Server{}, newFakeConn()
		inner.push(near, "a")
		if err := s.ServePacket(&exiting{PacketConn: inner}, h); !errors.Is(err, handlers.ErrPanic) {
			t.Errorf("ServePacket() = %v", err)
		}
		if err := s.Shutdown(t.Context()); err != nil {
			t.Errorf("Shutdown() = %v", err)
		}
	})
}

// silent is a socket whose first WriteTo ends its goroutine.
type silent struct {
	net.PacketConn
	writes int
}

func (s *silent) WriteTo(p []byte, to net.Addr) (int, error) {
	if s.writes++; s.writes == 1 {
		runtime.Goexit()
	}
	return s.PacketConn.WriteTo(p, to)
}

// A WriteTo that ends its goroutine costs only its datagram.
func TestWriteEndsTheGoroutine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &hub{message: echo}
		var failed error
		s := &Server{OnError: func(_ netip.AddrPort, err error) { failed = err }}
		inner := newFakeConn()
		socket := &silent{PacketConn: inner}
		ended := make(chan error, 1)
		go func() { ended <- s.ServePacket(socket, h) }() // ends with the server
		for _, text := range []string{"a", "b", "c"} {
			inner.push(near, text)
			synctest.Wait()
		}
		if socket.writes != 3 || !errors.Is(failed, handlers.ErrPanic) {
			t.Errorf("WriteTo was called %d times, and OnError got %v", socket.writes, failed)
		}
		if err := s.Shutdown(t.Context()); err != nil {
			t.Errorf("Shutdown() = %v", err)
		}
		if err := <-ended; !errors.Is(err, ErrServerClosed) {
			t.Errorf("ServePacket() = %v", err)
		}
	})
}

// A callback that ends its goroutine costs one client, whichever goroutine it is. The others are
// served, and so is the next datagram from the same address, as a new client. Shutdown does not
// wait for the lost goroutine.
func TestEventsEndTheGoroutine(t *testing.T) {
	for _, in := range []string{"connect", "message", "disconnect"} {
		for _, slow := range []bool{false, true} { // a runner with a slow callback is replaced first
			t.Run(fmt.Sprintf("%s, slow %t", in, slow), func(t *testing.T) {
				exit := func(name string, c *hubClient) error {
					if name == in && c.info.Remote.String() == near {
						if slow {
							time.Sleep(time.Second)
						}
						runtime.Goexit()
					}
					return nil
				}
				h := &hub{
					connect: func(c *hubClient) error { return exit("connect", c) },
					message: func(c *hubClient, _ string) error { return exit("message", c) },
					leave:   func(c *hubClient, _ error) { _ = exit("disconnect", c) },
				}
				inBubble(t, &Server{}, h, func(t *testing.T, conn *fakeConn) {
					for i := range 5 {
						conn.push(near, "exit")
						synctest.Wait()
						if c := h.client(); in == "disconnect" {
							c.Destroy()
						}
						conn.push(far, fmt.Sprint(i))
						time.Sleep(5 * time.Second)
					}
					connects, heard := 0, ""
					for _, e := range h.events() {
						if e == "connect "+near {
							connects++
						}
						if text, ok := strings.CutPrefix(e, "message "+far+" "); ok {
							heard += text
						}
					}
					if connects != 5 || heard != "01234" {
						t.Errorf("there were %d clients, and the other was heard to say %q, want 5 and 01234", connects, heard)
					}
				})
			})
		}
	}
}
