package callosum

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/testdata/funcs"
)

// callbacks returns handlers, each of which calls f in one of its callbacks. A client that connects
// and leaves makes the server call all of them.
var callbacks = map[string]func(h *Handler, f func()){
	"Handler.OnSlotRequest": func(h *Handler, f func()) {
		h.OnSlotRequest = func(context.Context) (int, error) { f(); return 0, nil }
	},
	"Handler.OnSlotFree": func(h *Handler, f func()) { h.OnSlotFree = func(int) { f() } },
	"Handler.OnConnection": func(h *Handler, f func()) {
		h.OnConnection = func(_ context.Context, c *Conn) { f(); _, _ = io.Copy(io.Discard, c) }
	},
	"Handler.OnError": func(h *Handler, f func()) {
		var once atomic.Bool
		h.OnConnection = func(_ context.Context, c *Conn) {
			if once.CompareAndSwap(false, true) {
				panic("for OnError")
			}
			_, _ = io.Copy(io.Discard, c)
		}
		h.OnError = func(*handlers.Info, error) { f() }
	},
}

// eachCallback calls do once in each callback, and then rest.
func eachCallback(t *testing.T, do func(s *Server) error, rest func(t *testing.T, s *Server, addr string, err error)) {
	for name, set := range callbacks {
		for kind, wrap := range kinds {
			t.Run(fmt.Sprintf("%s, %s", name, kind), func(t *testing.T) {
				t.Parallel()
				h := &Handler{Hold: -1, LingerTimeout: time.Millisecond}
				var called atomic.Bool
				var s *Server
				ready, done := make(chan struct{}), make(chan error, 1)
				set(h, func() {
					<-ready
					if called.CompareAndSwap(false, true) {
						err := error(nil)
						defer func() { done <- err }() // also after a panic
						err = do(s)
					}
				})
				l, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					t.Fatal(err)
				}
				s = serve(t, h, wrap(l))
				close(ready)
				nc := connect(t, l.Addr().String())
				// a client that leaves before that has no OnConnection
				_, _ = bufio.NewReader(nc).ReadString('\n')
				_ = nc.CloseWrite()
				select {
				case err := <-done:
					rest(t, s, l.Addr().String(), err)
				case <-time.After(patience):
					t.Fatal("it does not return")
				}
				eventually(t, "all are gone", func() bool { return served(h) == 0 && h.slots.Len() == 0 })
			})
		}
	}
}

// A panic in a callback costs its own connection, whose slot is freed.
func TestEachCallbackPanics(t *testing.T) {
	// tested elsewhere in this file
	names := []string{"Dialer.Accept", "Dialer.DialContext", "Pool.OnError"}
	for name := range callbacks {
		names = append(names, name)
	}
	funcs.Covered(t, names...)
	eachCallback(t, func(*Server) error { panic("of the program") }, func(t *testing.T, s *Server, addr string, _ error) {
		eventually(t, "the client is gone", func() bool { return served(s.Handler) == 0 })
		nc := connect(t, addr)
		expect(t, nc, "0\r\n")
		nc.Close()
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown() = %v", err)
		}
	})
}

// Close can be called in each callback, and so can Shutdown, which returns when its ctx ends.
func TestCallbacksClose(t *testing.T) {
	eachCallback(t, (*Server).Close, func(t *testing.T, _ *Server, _ string, err error) {
		if err != nil {
			t.Errorf("Close() = %v", err)
		}
	})
}

func TestCallbacksShutdown(t *testing.T) {
	eachCallback(t, func(s *Server) error {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Millisecond)
		defer cancel()
		return s.Shutdown(ctx)
	}, func(t *testing.T, _ *Server, _ string, err error) {
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Shutdown() = %v", err)
		}
	})
}

// nasty is a connection whose methods panic.
type nasty struct{ net.Conn }

func (nasty) Read([]byte) (int, error) { panic("of Read") }
func (nasty) RemoteAddr() net.Addr     { panic("of RemoteAddr") }

// If the program's dialer panics or returns nonsense, Dial returns an error and a pool goes on.
func TestDialerPanics(t *testing.T) {
	t.Parallel()
	n := &network{}
	serve(t, &Handler{Hold: -1}, n.listen("a"))
	bad := map[string]func(d *Dialer){
		"Accept": func(d *Dialer) { d.Accept = func(int) bool { panic("of Accept") } },
		"DialContext": func(d *Dialer) {
			d.DialContext = func(context.Context, string, string) (net.Conn, error) { panic("of DialContext") }
		},
		"nil": func(d *Dialer) {
			d.DialContext = func(context.Context, string, string) (net.Conn, error) { return nil, nil }
		},
		"Read": func(d *Dialer) {
			d.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
				nc, err := n.dial(ctx, network, addr)
				return nasty{nc}, err
			}
		},
	}
	for name, spoil := range bad {
		t.Run(name, func(t *testing.T) {
			p := &Pool{Servers: map[string]string{"a": "a"}, Size: 1, Dialer: Dialer{DialContext: n.dial}}
			told := make(chan error, 1)
			p.OnError = func(_ string, err error) {
				select {
				case told <- err:
				default:
				}
				panic("of OnError")
			}
			spoil(&p.Dialer)
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error)
			go func() { done <- p.Run(ctx) }() // ends with ctx
			if err := <-told; err == nil || name != "nil" && !errors.Is(err, handlers.ErrPanic) {
				t.Errorf("OnError got %v", err)
			}
			cancel()
			if err := <-done; !errors.Is(err, context.Canceled) {
				t.Errorf("Run() = %v", err)
			}
		})
	}
}

// spoilt is a listener that panics once in Accept, or in its connection's RemoteAddr, and in Close.
type spoilt struct {
	net.Listener
	accept, conn atomic.Bool
}

func (l *spoilt) Accept() (net.Conn, error) {
	if l.accept.CompareAndSwap(true, false) {
		panic("of Accept")
	}
	nc, err := l.Listener.Accept()
	if err == nil && l.conn.CompareAndSwap(true, false) {
		nc = nasty{nc}
	}
	return nc, err
}

func (l *spoilt) Close() error { l.Listener.Close(); panic("of Close") }

// A panic in a method of a listener costs the listener or one connection, nothing else.
func TestListenerPanics(t *testing.T) {
	t.Parallel()
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &spoilt{Listener: inner}
	l.conn.Store(true)
	told := make(chan error, 1)
	serve(t, &Handler{Hold: -1, OnError: func(_ *handlers.Info, err error) { told <- err }}, l)
	expectEnd(t, connect(t, inner.Addr().String()), "")
	if err := <-told; !errors.Is(err, handlers.ErrPanic) {
		t.Errorf("OnError got %v", err)
	}
	expect(t, connect(t, inner.Addr().String()), "0\r\n")

	if inner, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	l = &spoilt{Listener: inner}
	l.accept.Store(true)
	if err := new(Server).Serve(l); !errors.Is(err, handlers.ErrPanic) {
		t.Errorf("Serve() = %v", err)
	}
}
