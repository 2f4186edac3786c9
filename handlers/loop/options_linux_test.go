package loop

import (
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/portluck/portluck/handlers"
	"golang.org/x/sys/unix"
)

// Options are set on the socket, whatever type of connection it has.
func TestOptionsOfSocket(t *testing.T) {
	polledOptions := func(t *testing.T, nc *net.TCPConn) (set tcpOptions, done func()) {
		r := epollRig(t, noBounds())
		c, rec := r.New(&fakeConn{nc: nc}, handlers.Attachment{Codec: &stream{}}), newRecorder()
		connected := make(chan struct{})
		rec.onConnect = func() { close(connected) }
		start(c, rec)
		<-connected
		return connOptions{c}, c.Destroy
	}
	for _, tt := range []struct {
		name string
		make func(t *testing.T, nc *net.TCPConn) (set tcpOptions, done func())
	}{
		{"epoll", polledOptions},
		{"file", func(t *testing.T, nc *net.TCPConn) (tcpOptions, func()) {
			f, err := nc.File()
			if err != nil {
				t.Fatal(err)
			}
			return rawOptions{f}, func() { f.Close() }
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			server, _ := tcpPair(t)
			fd, err := server.File() // of the same socket
			if err != nil {
				t.Fatal(err)
			}
			defer fd.Close()
			set, done := tt.make(t, server)
			defer done()
			for _, on := range []bool{true, false, true} {
				if err := set.SetNoDelay(on); err != nil {
					t.Error(err)
				}
				if err := set.SetKeepAliveConfig(net.KeepAliveConfig{Enable: on, Idle: 1500 * time.Millisecond}); err != nil {
					t.Error(err)
				}
				want := number(on)
				if got, err := unix.GetsockoptInt(int(fd.Fd()), unix.IPPROTO_TCP, unix.TCP_NODELAY); (got != 0) != on || err != nil {
					t.Errorf("TCP_NODELAY = %d, %v, want %d", got, err, want)
				}
				if got, err := unix.GetsockoptInt(int(fd.Fd()), unix.SOL_SOCKET, unix.SO_KEEPALIVE); (got != 0) != on || err != nil {
					t.Errorf("SO_KEEPALIVE = %d, %v, want %d", got, err, want)
				}
				if got, err := unix.GetsockoptInt(int(fd.Fd()), unix.IPPROTO_TCP, unix.TCP_KEEPIDLE); got != 2 || err != nil {
					t.Errorf("TCP_KEEPIDLE = %d, %v, want 2", got, err)
				}
			}
		})
	}
}

// connOptions has only the methods of a driven connection that set options.
type connOptions struct{ Conn }

func (o connOptions) SetKeepAliveConfig(c net.KeepAliveConfig) error {
	return o.SetKeepAlive(c.Enable, c.Idle)
}

// On a Unix socket the options of TCP are ignored without an error.
func TestOptionsOfUnixSocket(t *testing.T) {
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	nc, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	o := rawOptions{nc.(*net.UnixConn)}
	if err := o.SetNoDelay(true); err != nil {
		t.Errorf("SetNoDelay() = %v", err)
	}
	if err := o.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: time.Second}); err != nil {
		t.Errorf("SetKeepAliveConfig() = %v", err)
	}
}
