package callosum

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/portluck/portluck/handlers"
)

// Upstream's tests of the server, part B5 of SEEDS.md.
func TestUpstreamServer(t *testing.T) {
	t.Parallel()
	t.Run("K1 listens on 4040 by default and accepts", func(t *testing.T) {
		s := &Server{}
		done := make(chan error, 1)
		go func() { done <- s.ListenAndServe() }()
		var err error
		eventually(t, "it listens or fails", func() bool {
			select {
			case err = <-done:
				return true
			default:
				return len(s.Addrs()) > 0
			}
		})
		if err != nil { // another process has the port
			if !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), ":4040:") {
				t.Errorf("ListenAndServe() = %v", err)
			}
			return
		}
		expect(t, connect(t, "127.0.0.1:4040"), "0\r\n")
		s.Close()
		if err := <-done; !errors.Is(err, ErrServerClosed) {
			t.Errorf("ListenAndServe() = %v, want ErrServerClosed", err)
		}
		_ = s.tasks.Wait(context.Background())
	})
	t.Run("K2 and K8 address from the fields", func(t *testing.T) {
		s := &Server{Addr: "127.0.0.1:0"}
		done := make(chan error, 1)
		go func() { done <- s.ListenAndServe() }()
		eventually(t, "it listens", func() bool { return len(s.Addrs()) == 1 })
		c := connect(t, s.Addrs()[0].String())
		expect(t, c, "0\r\n")
		if err := s.Shutdown(t.Context()); err != nil { // while the client is connected
			t.Errorf("Shutdown() = %v", err)
		}
		if err := <-done; !errors.Is(err, ErrServerClosed) {
			t.Errorf("ListenAndServe() = %v, want ErrServerClosed", err)
		}
		expectEnd(t, c, "")
	})
	t.Run("K3 slot request, K4 slot 0 and connection", func(t *testing.T) {
		h, e := recorded([]int{0})
		expect(t, connect(t, serveTCP(t, h)), "0\r\n")
		e.want(t, "request", "connection 0")
	})
	t.Run("K5 slot freed at end", func(t *testing.T) {
		h, e := recorded([]int{171})
		c := connect(t, serveTCP(t, h))
		e.want(t, "request", "connection 171")
		c.CloseWrite()
		e.want(t, "request", "connection 171", "free 171")
		expectEnd(t, c, "171\r\n")
	})
	t.Run("K6 slot freed at an error of the connection", func(t *testing.T) {
		h, e := recorded([]int{171})
		c := connect(t, serveTCP(t, h))
		e.want(t, "request", "connection 171")
		c.SetLinger(0)
		c.Close()
		e.want(t, "request", "connection 171", "free 171")
		if all := h.Conns(); len(all) != 0 {
			t.Errorf("%d connections hold a slot", len(all))
		}
	})
	t.Run("K7 the client reads its slot", func(t *testing.T) {
		h, _ := recorded([]int{13})
		expect(t, connect(t, serveTCP(t, h)), "13\r\n")
	})
	t.Run("J1 first client gets 0", func(t *testing.T) {
		expect(t, connect(t, serveTCP(t, &Handler{})), "0\r\n")
	})
}

// If OnSlotRequest fails, the server calls OnError and closes the connection without sending
// anything.
func TestSlotRequestFails(t *testing.T) {
	for _, test := range []struct {
		name   string
		answer func(ctx context.Context) (int, error)
		want   error
	}{
		{"error", func(context.Context) (int, error) { return 3, io.ErrNoProgress }, io.ErrNoProgress},
		{"negative slot", func(context.Context) (int, error) { return -1, nil }, ErrSlot},
		{"panic", func(context.Context) (int, error) { panic("oh") }, handlers.ErrPanic},
	} {
		t.Run(test.name, func(t *testing.T) {
			errs := make(chan error, 10)
			h := &Handler{
				OnSlotRequest: test.answer,
				OnSlotFree:    func(slot int) { t.Errorf("free %d", slot) },
				OnConnection:  func(context.Context, *Conn) { t.Error("connection") },
				OnError:       func(_ *handlers.Info, err error) { errs <- err },
			}
			c := connect(t, serveTCP(t, h))
			expectEnd(t, c, "")
			if err := <-errs; !errors.Is(err, test.want) {
				t.Errorf("OnError(%v), want %v", err, test.want)
			}
		})
	}
}

// If a client resets the connection before it gets its slot line, as a health check does, OnError
// is not called.
func TestResetBeforeSlotLine(t *testing.T) {
	t.Parallel()
	for _, reset := range []error{syscall.ECONNRESET, syscall.EPIPE} {
		inner, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		freed := make(chan int, 1)
		h := &Handler{
			OnSlotFree:   func(slot int) { freed <- slot },
			OnConnection: func(context.Context, *Conn) { t.Error("connection") },
			OnError:      func(_ *handlers.Info, err error) { t.Errorf("OnError(%v)", err) },
		}
		serve(t, h, deaf{inner, reset})
		connect(t, inner.Addr().String())
		<-freed
	}
}

// deaf is a listener on whose connections every Write fails.
type deaf struct {
	net.Listener
	err error
}

func (d deaf) Accept() (net.Conn, error) {
	c, err := d.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return deafConn{c, d.err}, nil
}

type deafConn struct {
	net.Conn
	err error
}

func (c deafConn) Write([]byte) (int, error) {
	return 0, &net.OpError{Op: "write", Err: os.NewSyscallError("write", c.err)}
}

// A panic in OnSlotFree or OnError has no other effect.
func TestCallbacksPanic(t *testing.T) {
	errs := make(chan error, 10)
	h := &Handler{
		OnSlotFree: func(int) { panic("oh") },
		OnError: func(_ *handlers.Info, err error) {
			errs <- err
			panic("again")
		},
	}
	addr := serveTCP(t, h)
	for range 3 {
		c := connect(t, addr)
		expect(t, c, "0\r\n")
		c.Close()
		if err := <-errs; !errors.Is(err, handlers.ErrPanic) {
			t.Errorf("OnError(%v), want ErrPanic", err)
		}
		eventually(t, "it is gone", func() bool { return served(h) == 0 })
	}
}

func TestMaxSlots(t *testing.T) {
	h, e := recorded(nil)
	h.MaxSlots = 1
	addr := serveTCP(t, h)
	c := connect(t, addr)
	expect(t, c, "0\r\n")
	e.want(t, "connection 0")
	expectEnd(t, connect(t, addr), "")
	e.want(t, "connection 0", "error slot request: no slot is free")
	c.Close()
	e.want(t, "connection 0", "error slot request: no slot is free", "free 0")
	eventually(t, "it is back", func() bool { return h.slots.Len() == 0 })
	expect(t, connect(t, addr), "0\r\n")
}

func TestMaxConns(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	errs := make(chan error, 1)
	s := &Server{MaxConns: 1, Handler: &Handler{OnError: func(_ *handlers.Info, err error) {
		select {
		case errs <- err:
		default:
		}
	}}}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	c := connect(t, l.Addr().String())
	expect(t, c, "0\r\n")
	expectEnd(t, connect(t, l.Addr().String()), "")
	if err := <-errs; !errors.Is(err, ErrTooMany) {
		t.Errorf("OnError(%v), want ErrTooMany", err)
	}
	c.Close()
	eventually(t, "there is room again", func() bool {
		c := connect(t, l.Addr().String())
		defer c.Close()
		b, _ := io.ReadAll(io.LimitReader(c, 3))
		return string(b) == "0\r\n"
	})
	s.Close()
	<-done
	_ = s.tasks.Wait(context.Background())
}

// J2: 1000 concurrent clients get all of 0 to 999, and all slots are freed.
func TestUpstreamThousand(t *testing.T) {
	t.Parallel()
	const n = 1000
	h := &Handler{}
	addr := serveTCP(t, h)
	slots := make(chan int, n)
	release := make(chan struct{})
	for range n {
		go func() {
			c, err := (&Dialer{Timeout: patience}).Dial(context.Background(), addr)
			if err != nil {
				t.Errorf("Dial() = %v", err)
				slots <- -1
				return
			}
			slots <- c.Slot()
			<-release
			c.Close()
		}()
	}
	seen := map[int]bool{}
	for range n {
		seen[<-slots] = true
	}
	for slot := range n {
		if !seen[slot] {
			t.Errorf("nobody has slot %d", slot)
		}
	}
	if got := len(h.Conns()); got != n || h.Given() != n {
		t.Errorf("%d connections hold one of %d slots, want %d", got, h.Given(), n)
	}
	close(release)
	eventually(t, "all are back", func() bool { return h.slots.Len() == 0 })
}

// broken is a listener whose Accept fails once.
type broken struct {
	net.Listener
	once atomic.Bool
}

func (l *broken) Accept() (net.Conn, error) {
	if l.once.CompareAndSwap(false, true) {
		return nil, syscall.ECONNABORTED
	}
	return l.Listener.Accept()
}

// Shutdown returns after the last callback has returned.
func TestShutdownWaitsForCallbacks(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"Handler.OnSlotFree", "Handler.OnConnection", "Handler.OnError", "OnError of Accept"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := &Handler{Hold: -1, LingerTimeout: time.Millisecond}
			called, release := make(chan struct{}), make(chan struct{})
			hold := sync.OnceFunc(func() { close(called); <-release })
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			if set := callbacks[name]; set != nil {
				set(h, hold)
			} else {
				h.OnError = func(*handlers.Info, error) { hold() }
				l = &broken{Listener: l}
			}
			s := serve(t, h, l)
			nc := connect(t, l.Addr().String())
			if name != "OnError of Accept" {
				_, _ = bufio.NewReader(nc).ReadString('\n')
			}
			_ = nc.CloseWrite()
			<-called
			for range 2 {
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
				if err := s.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("Shutdown() = %v while a callback runs", err)
				}
				cancel()
			}
			close(release)
			if err := s.Shutdown(t.Context()); err != nil {
				t.Errorf("Shutdown() = %v", err)
			}
		})
	}
}
