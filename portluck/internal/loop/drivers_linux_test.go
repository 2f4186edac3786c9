package loop

import (
	"net"
	"testing"

	"github.com/portluck/portluck/handlers"
	"golang.org/x/sys/unix"
)

func init() {
	benches = append(
		benches,
		bench{"epoll", Auto, false, plainServer},
		bench{"epoll, TLS", Auto, true, tlsServer},
		bench{"epoll, bare descriptor", Auto, false, bareServer},
	)
}

// bareConn is a connection that Go's poller does not know.
type bareConn struct {
	fakeConn
	fd int
}

func bareServer(t *testing.T, nc *net.TCPConn) handlers.Conn {
	fd, err := take(nc)
	if err != nil {
		t.Error(err)
	}
	return &bareConn{fd: fd}
}

func (*bareConn) Below() net.Conn            { return nil }
func (c *bareConn) Descriptor() (int, error) { return c.fd, nil }
func (c *bareConn) Close() error             { return unix.Close(c.fd) }
