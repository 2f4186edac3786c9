package grace

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// pair returns both ends of a TCP connection.
func pair(t *testing.T) (server, client net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if client, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if server, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close(); server.Close() })
	return server, client
}

// pass waits until a deadline of nc has passed: then package net fails a Read without trying it.
func pass(t *testing.T, nc net.Conn) {
	t.Helper()
	if n, err := nc.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("Read() = %d, %v", n, err)
	}
}

func TestReadPastDeadline(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		in   time.Duration
		send string
		want string
	}{
		{"what came in time", time.Millisecond, "hello", "hello"},
		{"nothing came", time.Millisecond, "", ""},
		{"somebody only wakes it up", -time.Hour, "hello", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			server, client := pair(t)
			nc := Conn(server)
			if err := nc.SetReadDeadline(time.Now().Add(tt.in)); err != nil {
				t.Fatal(err)
			}
			pass(t, server)
			if _, err := io.WriteString(client, tt.send); err != nil { // on loopback it arrives at once
				t.Fatal(err)
			}
			got := make([]byte, len("hello"))
			n, err := io.ReadFull(nc, got)
			if string(got[:n]) != tt.want || n < len(got) && !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("Read() = %q, %v, want %q", got[:n], err, tt.want)
			}
			if _, err := nc.Read(got); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("then Read() = %v, want %v", err, os.ErrDeadlineExceeded)
			}
		})
	}
}

// The reads from a peer that never stops sending are bounded too, even if the deadline is set anew.
func TestFloodPastDeadline(t *testing.T) {
	t.Parallel()
	server, client := pair(t)
	nc := Conn(server)
	go io.Copy(client, zeros{}) // ends with the connection
	by := time.Now().Add(time.Millisecond)
	for late := time.Now().Add(time.Minute); time.Now().Before(late); {
		_ = nc.SetReadDeadline(by)
		if _, err := nc.Read(make([]byte, 4<<10)); errors.Is(err, os.ErrDeadlineExceeded) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
	}
	t.Error("the deadline is extended for ever")
}

// shy counts how often its descriptor is asked for.
type shy struct {
	*net.TCPConn
	asked int
}

func (s *shy) SyscallConn() (syscall.RawConn, error) {
	s.asked++
	return s.TCPConn.SyscallConn()
}

// Ending a Read with a deadline in the past, as net/http does for each request, does not look at
// the socket, as a connection may have no descriptor of its own before.
func TestWakeIsCheap(t *testing.T) {
	t.Parallel()
	server, _ := pair(t)
	below := &shy{TCPConn: server.(*net.TCPConn)}
	nc := Conn(below)
	_ = nc.SetReadDeadline(time.Now().Add(time.Hour))
	_ = nc.SetReadDeadline(time.Unix(1, 0))
	if _, err := nc.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("Read() = %v, want %v", err, os.ErrDeadlineExceeded)
	}
	if below.asked != 0 {
		t.Errorf("the descriptor was asked for %d times", below.asked)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// A deadline that is noticed late is extended, as the process was stopped.
func TestSeenLate(t *testing.T) {
	t.Parallel()
	server, client := pair(t)
	nc := Conn(server)
	_ = nc.SetDeadline(time.Now().Add(time.Millisecond))
	time.Sleep(slack + 10*time.Millisecond)
	if _, err := io.WriteString(nc, "hello"); err != nil {
		t.Errorf("Write() = %v", err)
	}
	got := make([]byte, 5)
	if _, err := io.ReadFull(client, got); err != nil || string(got) != "hello" {
		t.Errorf("the peer has read %q, %v", got, err)
	}
	go io.WriteString(client, "world") // while Read waits, or before
	if _, err := io.ReadFull(nc, got); err != nil || string(got) != "world" {
		t.Errorf("Read() = %q, %v", got, err)
	}
}

func TestConnIsWhole(t *testing.T) {
	t.Parallel()
	server, client := pair(t)
	nc := Conn(server)
	if Conn(nc) != nc {
		t.Error("a connection is wrapped twice")
	}
	if below := nc.(interface{ NetConn() net.Conn }).NetConn(); below != server {
		t.Errorf("NetConn() = %v", below)
	}
	if err := nc.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Error(err)
	}
	if _, err := client.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("after CloseWrite Read() = %v", err)
	}
	p, _ := net.Pipe()
	if Conn(p) != p {
		t.Error("what is no socket is wrapped")
	}
}

func TestHasUnread(t *testing.T) {
	t.Parallel()
	server, client := pair(t)
	if HasUnread(nil) || HasUnread(Conn(server)) {
		t.Error("HasUnread() = true while nothing has come")
	}
	_, _ = io.WriteString(client, "x")
	if !HasUnread(Conn(server)) {
		t.Error("HasUnread() = false for a byte")
	}
	_, _ = server.Read(make([]byte, 1))
	client.Close()
	if _, err := server.Read(make([]byte, 1)); err != io.EOF || !HasUnread(server) {
		t.Errorf("HasUnread() = false for the end; Read() = %v", err)
	}
}

func TestAfterFunc(t *testing.T) {
	t.Parallel()
	t.Run("nothing came", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			start, done := time.Now(), make(chan time.Time)
			AfterFunc(nil, time.Minute, func() { done <- time.Now() })
			if got := (<-done).Sub(start); got != time.Minute {
				t.Errorf("f is called after %v", got)
			}
			stop := AfterFunc(nil, time.Minute, func() { t.Error("f is called after stop") })
			if !stop() || stop() {
				t.Error("stop() does not report whether it has stopped")
			}
			time.Sleep(time.Hour)
		})
	})
	t.Run("bytes wait", func(t *testing.T) {
		server, client := pair(t)
		_, _ = io.WriteString(client, "x")
		start, done := time.Now(), make(chan time.Time)
		AfterFunc(server, time.Millisecond, func() { done <- time.Now() })
		if got := (<-done).Sub(start); got < Moment {
			t.Errorf("f is called after %v, want %v at least", got, Moment)
		}
	})
}

func TestContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		ctx, cancel := Context(t.Context(), nil, time.Minute)
		defer cancel()
		if <-ctx.Done(); time.Since(start) != time.Minute || context.Cause(ctx) != os.ErrDeadlineExceeded ||
			ctx.Err() != context.DeadlineExceeded {
			t.Errorf("it ends after %v with %v", time.Since(start), context.Cause(ctx))
		}
		parent, end := context.WithCancel(t.Context())
		ctx, cancel = Context(parent, nil, time.Minute)
		defer cancel()
		if by, ok := ctx.Deadline(); !ok || time.Until(by) != time.Minute {
			t.Errorf("Deadline() = %v, %v", by, ok)
		}
		end()
		if <-ctx.Done(); context.Cause(ctx) != context.Canceled {
			t.Errorf("with its parent it ends with %v", context.Cause(ctx))
		}
	})
}

// fakeConn records its deadlines.
type fakeConn struct {
	net.Conn
	set []string
}

func (c *fakeConn) SetDeadline(time.Time) error      { c.set = append(c.set, "both"); return nil }
func (c *fakeConn) SetReadDeadline(time.Time) error  { c.set = append(c.set, "read"); return nil }
func (c *fakeConn) SetWriteDeadline(time.Time) error { c.set = append(c.set, "write"); return nil }

// If a deadline is extended and then set again to the same time, that time does not change.
func TestSetWhileExtended(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		by := time.Now().Add(time.Minute)
		extended := func() bool { return true }
		for _, tt := range []struct {
			in, out bool // extended
			want    []string
		}{
			{false, false, []string{"both", "read", "write"}},
			{true, false, []string{"write", "write"}},
			{false, true, []string{"read", "read"}},
			{true, true, nil},
		} {
			var d Deadlines
			nc := &fakeConn{}
			d.in.Set(by)
			d.out.Set(by)
			if tt.in && !d.in.Extend(extended) || tt.out && !d.out.Extend(extended) {
				t.Fatal("it is not extended")
			}
			_ = d.Set(nc, by)
			_ = d.SetRead(nc, by)
			_ = d.SetWrite(nc, by)
			if !slices.Equal(nc.set, tt.want) {
				t.Errorf("extended %t, %t: %q is set, want %q", tt.in, tt.out, nc.set, tt.want)
			}
		}
	})
}
