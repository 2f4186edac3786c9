package callosum

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/internal/guarded/guardedtest"
)

// A panic in a connection or a listener of the program costs one connection: the next client is
// served, every slot is freed, and Shutdown returns.
func TestConnPanics(t *testing.T) {
	for _, method := range append(slices.Clone(guardedtest.Methods), "nothing", "Listener.Close") {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			h := &Handler{Hold: -1, LingerTimeout: time.Millisecond, EndTimeout: time.Millisecond, OnConnection: func(_ context.Context, c *Conn) {
				_ = c.SetDeadline(time.Now().Add(patience))
				_, _ = c.LocalAddr(), c.RemoteAddr()
				_, _ = io.Copy(c, c)
			}}
			inner, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			l := &guardedtest.Listener{Listener: inner, Method: method}
			s := serve(t, h, l)
			first := connect(t, inner.Addr().String())
			_, _ = io.WriteString(first, "hello")
			_ = first.CloseWrite()
			_, _ = io.ReadAll(first)
			eventually(t, "the first one is gone", func() bool { return served(h) == 0 && h.slots.Len() == 0 })
			second := connect(t, inner.Addr().String())
			send(t, second, "hello")
			expect(t, second, "0\r\nhello")
			second.Close()
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			if err := s.Shutdown(ctx); err != nil {
				t.Errorf("Shutdown() = %v", err)
			}
		})
	}
}

// Serve returns a panic of Accept as an error.
func TestAcceptPanics(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	connect(t, inner.Addr().String())
	if err := new(Server).Serve(&guardedtest.Listener{Listener: inner, Method: "Accept"}); !errors.Is(err, handlers.ErrPanic) {
		t.Errorf("Serve() = %v, want ErrPanic", err)
	}
}

// A panic in a connection that a client has dialled costs that connection, alone and in a pool.
func TestDialedConnPanics(t *testing.T) {
	for _, method := range guardedtest.Methods {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			addr := serveTCP(t, &Handler{Hold: -1, LingerTimeout: time.Millisecond})
			d := &Dialer{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
				nc, err := new(net.Dialer).DialContext(ctx, network, addr)
				if err != nil {
					return nil, err
				}
				return &guardedtest.Conn{Conn: nc, Method: method}, nil
			}}
			c, err := d.Dial(t.Context(), addr)
			if err != nil {
				return
			}
			p := &Pool{}
			p.Offer(c)
			_, _ = c.Write([]byte("hello"))
			_ = c.CloseWrite()
			_ = c.SetDeadline(time.Now().Add(patience))
			_, _ = io.ReadAll(c)
			c.Close()
		})
	}
}
