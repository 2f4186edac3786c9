package portluck

import (
	"bytes"
	"errors"
	"io"
	"net"
	"testing"

	"github.com/portluck/portluck/handlers"
	"golang.org/x/sys/unix"
)

// A connection shows its socket in the form that it has, and leaves it to its handler once.
func TestDetach(t *testing.T) {
	t.Parallel()
	one, two := net.Pipe()
	t.Cleanup(func() { one.Close(); two.Close() })
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fds[0]); unix.Close(fds[1]) })
	replay := &replayConn{Conn: one, prefix: []byte("read"), err: io.EOF}
	for _, tt := range []struct {
		name string
		sock socket
		want handlers.Socket
	}{
		{"a descriptor", &descriptor{fd: fds[0]}, handlers.Socket{FD: fds[0]}},
		{"a net.Conn", &made{one}, handlers.Socket{Conn: one}},
		{"one that was read", replayed{replay}, handlers.Socket{Conn: one, Unread: replay.prefix}},
		{"one that was read, as a net.Conn", &made{replay}, handlers.Socket{Conn: one, Unread: replay.prefix}},
	} {
		p := &port{}
		c := &conn{port: p, sock: tt.sock}
		p.limits.admit(c, peer{})
		for range 2 { // it changes nothing
			got := c.Socket()
			if got.Conn != tt.want.Conn || got.FD != tt.want.FD || !bytes.Equal(got.Unread, tt.want.Unread) {
				t.Errorf("%s: Socket() = %v, want %v", tt.name, got, tt.want)
			}
		}
		place, err := c.Detach()
		if err != nil {
			t.Fatalf("%s: Detach() = %v", tt.name, err)
		}
		if c.Close(); len(p.limits.all()) != 0 || p.limits.open() != 1 {
			t.Errorf("%s: %d connections are listed, %d open, want 0 and 1", tt.name, len(p.limits.all()), p.limits.open())
		}
		if s := c.Socket(); s.Conn != nil || s.FD != -1 {
			t.Errorf("%s: Socket() = %v after Detach", tt.name, s)
		}
		if _, err := c.Detach(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("%s: the second Detach() = %v", tt.name, err)
		}
		if place.Close(); p.limits.open() != 0 {
			t.Errorf("%s: its place is not free", tt.name)
		}
	}
	if _, err := unix.Write(fds[0], []byte("x")); err != nil {
		t.Errorf("the descriptor is closed: %v", err)
	}
}
