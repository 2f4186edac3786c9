package udp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/portluck/portluck/handlers"
)

// fakeConn is a socket in memory.
type fakeConn struct {
	local netip.AddrPort

	mu       sync.Mutex
	cond     sync.Cond
	in       []fakePacket
	out      []fakePacket
	failures []error // returned by the next reads
	writeErr func(to netip.AddrPort) error
	deadline time.Time
	closed   bool
}

type fakePacket struct {
	data string
	addr netip.AddrPort
}

func newFakeConn() *fakeConn {
	f := &fakeConn{local: netip.MustParseAddrPort("192.0.2.1:8100")}
	f.cond.L = &f.mu
	return f
}

func (f *fakeConn) ReadFrom(p []byte) (int, net.Addr, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for {
		late := !f.deadline.IsZero() && !f.deadline.After(time.Now())
		switch {
		case f.closed:
			return 0, nil, net.ErrClosed
		case len(f.failures) > 0:
			err := f.failures[0]
			f.failures = f.failures[1:]
			return 0, nil, err
		case late && time.Until(f.deadline) < -time.Hour, late && len(f.in) == 0:
			return 0, nil, os.ErrDeadlineExceeded
		case len(f.in) > 0:
			one := f.in[0]
			f.in = f.in[1:]
			return copy(p, one.data), net.UDPAddrFromAddrPort(one.addr), nil
		}
		f.cond.Wait()
	}
}

func (f *fakeConn) WriteTo(p []byte, a net.Addr) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	to := addrPort(a)
	if f.closed {
		return 0, net.ErrClosed
	}
	if f.writeErr != nil {
		if err := f.writeErr(to); err != nil {
			return 0, err
		}
	}
	f.out = append(f.out, fakePacket{string(p), to})
	return len(p), nil
}

func (f *fakeConn) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	f.cond.Broadcast()
	return nil
}

func (f *fakeConn) LocalAddr() net.Addr { return net.UDPAddrFromAddrPort(f.local) }

func (f *fakeConn) SetDeadline(t time.Time) error { return f.SetReadDeadline(t) }

func (f *fakeConn) SetReadDeadline(t time.Time) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.deadline = t
	f.cond.Broadcast()
	if d := time.Until(t); d > 0 {
		time.AfterFunc(d, f.cond.Broadcast)
	}
	return nil
}

func (f *fakeConn) SetWriteDeadline(time.Time) error { return nil }

// push makes datagrams come from addr.
func (f *fakeConn) push(addr string, data ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, d := range data {
		f.in = append(f.in, fakePacket{d, netip.MustParseAddrPort(addr)})
	}
	f.cond.Broadcast()
}

// fail makes the next reads fail.
func (f *fakeConn) fail(errs ...error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failures = append(f.failures, errs...)
	f.cond.Broadcast()
}

// sent returns what was sent, as "addr data", and clears it.
func (f *fakeConn) sent() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []string
	for _, p := range f.out {
		all = append(all, p.addr.String()+" "+p.data)
	}
	f.out = nil
	return all
}

// hub is a port that records the events. Its funcs, if not nil, are the program's callbacks.
type hub struct {
	connect func(c *hubClient) error
	message func(c *hubClient, m string) error
	leave   func(c *hubClient, err error)

	mu   sync.Mutex
	seen []string
	last *hubClient
}

type hubClient struct {
	*hub
	handlers.Stream
	info *handlers.Info
	gone bool
}

func (h *hub) note(format string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.seen = append(h.seen, fmt.Sprintf(format, args...))
}

// events returns the recorded events, and clears them.
func (h *hub) events() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := h.seen
	h.seen = nil
	return all
}

// client returns the client that connected last.
func (h *hub) client() *hubClient {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.last
}

func (h *hub) Connect(info *handlers.Info, s handlers.Stream) (handlers.Client, error) {
	c := &hubClient{hub: h, Stream: s, info: info}
	h.mu.Lock()
	h.last = c
	h.mu.Unlock()
	h.note("connect %v", info.Remote)
	if h.connect != nil {
		if err := h.connect(c); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func (c *hubClient) Message(m handlers.Message) error {
	c.note("message %v %s", c.info.Remote, m.Data)
	if c.message != nil {
		return c.message(c, m.String())
	}
	return nil
}

func (c *hubClient) Disconnect(err error) {
	if c.gone {
		c.note("disconnect %v twice", c.info.Remote)
	}
	c.gone = true
	if c.leave != nil {
		c.leave(c, err)
	}
	c.note("disconnect %v %v", c.info.Remote, err)
}

func (h *hub) Attach(handlers.Conn, handlers.Attachment) { panic("unused") }
func (h *hub) Route(handlers.Conn)                       { panic("unused") }
func (h *hub) Fail(*handlers.Info, error)                { panic("unused") }
func (h *hub) Go(func())                                 { panic("unused") }

// echo sends each message back.
func echo(c *hubClient, m string) error { return c.Send([]byte(m), handlers.Auto) }

// inBubble serves s on a socket in memory, in a synctest bubble, until f returns.
func inBubble(t *testing.T, s *Server, h *hub, f func(t *testing.T, conn *fakeConn)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		conn := newFakeConn()
		done := make(chan error, 1)
		go func() { done <- s.ServePacket(conn, h) }() // ends with Shutdown
		synctest.Wait()
		f(t, conn)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown() = %v", err)
		}
		if err := <-done; !errors.Is(err, ErrServerClosed) {
			t.Errorf("ServePacket() = %v, want ErrServerClosed", err)
		}
		if n := len(s.table.clients); n != 0 {
			t.Errorf("%d clients are left", n)
		}
		if s.backlog != 0 {
			t.Errorf("%d bytes are left of the backlog", s.backlog)
		}
	})
}

// equal fails unless got is want.
func equal(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s:\n got %q\nwant %q", what, got, want)
	}
}
