package udp

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/portluck/portluck/handlers"
)

// Shutdown serves what has come, disconnects each client once, and sends what is queued.
func TestShutdown(t *testing.T) {
	h := &hub{message: echo}
	synctest.Test(t, func(t *testing.T) {
		s, conn := &Server{}, newFakeConn()
		done := make(chan error, 1)
		go func() { done <- s.ServePacket(conn, h) }() // ends with Shutdown
		synctest.Wait()
		conn.push(near, "before")
		synctest.Wait()
		conn.push(near, "a", "b") // nobody has read them yet
		conn.push(far, "new")
		if err := s.Shutdown(t.Context()); err != nil {
			t.Errorf("Shutdown() = %v", err)
		}
		if err := <-done; err != ErrServerClosed {
			t.Errorf("ServePacket() = %v", err)
		}
		equal(t, "sent", conn.sent(), near+" before", near+" a", near+" b", far+" new")
		ends := 0
		for _, e := range h.events() {
			if strings.HasPrefix(e, "disconnect") && strings.HasSuffix(e, "server is shutting down") {
				ends++
			}
		}
		if ends != 2 {
			t.Errorf("%d clients were disconnected, want 2", ends)
		}
		if err := h.client().Send(nil, handlers.Auto); err != handlers.ErrClosed {
			t.Errorf("Send() = %v", err)
		}
		h.client().Destroy()
		if err := s.ServePacket(newFakeConn(), h); err != ErrServerClosed {
			t.Errorf("ServePacket() = %v after Shutdown", err)
		}
		if err := s.Shutdown(t.Context()); err != nil {
			t.Errorf("Shutdown() = %v the second time", err)
		}
		if err := s.Close(); err != nil {
			t.Errorf("Close() = %v", err)
		}
	})
}

// Shutdown whose ctx ends closes at once, and still disconnects each client once.
func TestShutdownEnds(t *testing.T) {
	h := &hub{}
	block := make(chan struct{})
	h.message = func(*hubClient, string) error { <-block; return nil }
	synctest.Test(t, func(t *testing.T) {
		block = make(chan struct{})
		s, conn := &Server{}, newFakeConn()
		done := make(chan error, 1)
		go func() { done <- s.ServePacket(conn, h) }() // ends with Shutdown
		synctest.Wait()
		conn.push(near, "a", "b")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); err != context.DeadlineExceeded {
			t.Errorf("Shutdown() = %v", err)
		}
		if err := <-done; err != ErrServerClosed {
			t.Errorf("ServePacket() = %v", err)
		}
		close(block)
		synctest.Wait()
		equal(t, "events", h.events(), "connect "+near, "message "+near+" a", "disconnect "+near+" server is shutting down")
	})
}

// A temporary error is reported and does not end the server. Another one ends it and disconnects
// its clients.
func TestReadErrors(t *testing.T) {
	h := &hub{}
	told := 0
	s := &Server{OnError: func(netip.AddrPort, error) { told++; panic("of the program") }}
	synctest.Test(t, func(t *testing.T) {
		conn := newFakeConn()
		done := make(chan error, 1)
		go func() { done <- s.ServePacket(conn, h) }() // ends with the socket
		synctest.Wait()
		start := time.Now()
		for range 100 { // as ICMP errors may come
			conn.fail(&os.SyscallError{Syscall: "recvmsg", Err: syscall.ECONNREFUSED})
		}
		conn.push(far, "a")
		synctest.Wait()
		if d := time.Since(start); d != 0 {
			t.Errorf("reading has paused for %v after what ICMP told", d)
		}
		for range 3 {
			conn.fail(syscall.ENOBUFS)
		}
		conn.push(far, "b")
		time.Sleep(5*time.Millisecond + 10*time.Millisecond)
		synctest.Wait()
		equal(t, "events", h.events(), "connect "+far, "message "+far+" a")
		time.Sleep(20 * time.Millisecond)
		synctest.Wait()
		equal(t, "events after the pause", h.events(), "message "+far+" b")
		conn.fail(syscall.EBADF)
		if err := <-done; !errors.Is(err, syscall.EBADF) {
			t.Errorf("ServePacket() = %v", err)
		}
		synctest.Wait()
		equal(t, "events", h.events(), "disconnect "+far+" bad file descriptor")
		if st := s.Stats(); st.ReadErrors != 103 || told != 103 || st.Clients != 0 {
			t.Errorf("%d errors told, %+v", told, st)
		}
		if err := s.Shutdown(t.Context()); err != nil {
			t.Errorf("Shutdown() = %v", err)
		}
	})
}

// floodConn is a socket that always has more datagrams.
type floodConn struct {
	*fakeConn
	n int
}

func (f *floodConn) ReadFrom(p []byte) (int, net.Addr, error) {
	time.Sleep(time.Millisecond)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return 0, nil, net.ErrClosed
	}
	f.n++ // each comes from another client, so that none has a goroutine already
	return copy(p, "flood"), net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(20000+f.n%10000))), nil
}

// Neither a flood nor callbacks that are too slow for one goroutine delay a shutdown.
func TestShutdownInFlood(t *testing.T) {
	h := &hub{message: func(*hubClient, string) error { time.Sleep(10 * time.Millisecond); return nil }}
	synctest.Test(t, func(t *testing.T) {
		s := &Server{}
		done := make(chan error, 1)
		// Ends with Shutdown.
		go func() { done <- s.ServePacket(&floodConn{fakeConn: newFakeConn()}, h) }()
		time.Sleep(time.Second)
		start := time.Now()
		if err := s.Shutdown(t.Context()); err != nil {
			t.Errorf("Shutdown() = %v", err)
		}
		if d := time.Since(start); d > 3*time.Second {
			t.Errorf("Shutdown() took %v", d)
		}
		if err := <-done; err != ErrServerClosed {
			t.Errorf("ServePacket() = %v", err)
		}
	})
}
