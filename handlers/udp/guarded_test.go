package udp

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/portluck/portluck/handlers"
)

// panicking is a socket of which one method panics, each time or once.
type panicking struct {
	net.PacketConn
	method string
	after  int // calls

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

// badAddr is an address of the program's making.
type badAddr struct{}

func (badAddr) Network() string { return "x" }
func (badAddr) String() string  { panic("of the program") }

// A panic in a method of a socket that the program has made is an error of the socket.
func TestSocketPanics(t *testing.T) {
	tests := []struct {
		method string
		after  int
		fails  bool // ServePacket does
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
				go func() { // ends with Shutdown, or the socket
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
