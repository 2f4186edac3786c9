package loop

import (
	"io"
	"net"
	"testing"
	"time"

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

func (*bareConn) Below() net.Conn { return nil }
func (c *bareConn) Close() error  { return unix.Close(c.fd) }

func (c *bareConn) Descriptor() (int, io.Closer, error) { return c.fd, io.NopCloser(nil), nil }

// A duplicate keeps a closed descriptor's place in the epoll set: what comes for it reaches nobody else.
func TestTraps3Row3Duplicate(t *testing.T) {
	r := &rig{Loop: &Loop{}, bench: benches[len(benches)-1]}
	t.Cleanup(func() { r.Close(); r.Wait() })
	c, rec, client := r.lines(t)
	dup, err := unix.Dup(c.(*polled).opening().Conn.(*bareConn).fd)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(dup)
	start(c, rec)
	mustWrite(t, client, "mine\n")
	for len(rec.events()) < 2 {
		time.Sleep(time.Millisecond)
	}
	first := c.(*polled)
	first.mu.Lock()
	slot := first.slot
	first.mu.Unlock()
	c.Destroy()
	wantEvents(t, rec, "connect", "mine", "disconnect <nil>")
	for range len(r.shards.all) * 2 { // one of them gets the slot
		next, nextEvents, nextClient := r.lines(t)
		nextEvents.onMessage = func(m handlers.Message) error { return next.Send(m.Data, m.Kind) }
		start(next, nextEvents)
		mustWrite(t, client, "stray\n")
		mustWrite(t, nextClient, "a\n")
		mustRead(t, nextClient, "a\n")
		second := next.(*polled)
		reused := second.slot == slot && second.shard == first.shard
		nextClient.Close()
		wantEvents(t, nextEvents, "connect", "a", "disconnect <nil>")
		if reused {
			return
		}
	}
	t.Error("the slot was not used again")
}
