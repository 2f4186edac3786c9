package loop

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/portluck/portluck/handlers"
	"golang.org/x/sys/unix"
)

func init() {
	benches = append(
		benches,
		bench{"epoll", Auto, false, plainServer, 0},
		bench{"epoll, TLS", Auto, true, tlsServer, 0},
		bench{"epoll, bare descriptor", Auto, false, bareServer, 2},
		bench{"epoll, one processor", Auto, false, plainServer, 1},
	)
}

// bareConn is a connection that is not in Go's poller.
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

func (c *bareConn) Close() error                   { return unix.Close(c.fd) }
func (c *bareConn) Socket() handlers.Socket        { return handlers.Socket{FD: c.fd} }
func (c *bareConn) LazyNetConn() (net.Conn, error) { return c.NetConn() }
func (c *bareConn) Detach() (io.Closer, error)     { return io.NopCloser(nil), nil }

// If a descriptor has a duplicate, its entry stays in the epoll set after it is closed. The events
// of that entry reach no other connection.
func TestTraps3Row3Duplicate(t *testing.T) {
	r := &rig{Loop: &Loop{}, bench: bench{name: "epoll, bare descriptor", server: bareServer}}
	t.Cleanup(func() { r.Close(); r.Wait() })
	c, rec, client := r.lines(t)
	dup, err := unix.Dup(c.(*epollConn).opening().Conn.(*bareConn).fd)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(dup)
	start(c, rec)
	mustWrite(t, client, "mine\n")
	for len(rec.events()) < 2 {
		time.Sleep(time.Millisecond)
	}
	first := c.(*epollConn)
	first.mu.Lock()
	slot := first.slot
	first.mu.Unlock()
	c.Destroy()
	wantEvents(t, rec, "connect", "mine", "disconnect <nil>")
	for range 2 { // one of them gets the slot
		next, nextEvents, nextClient := r.lines(t)
		second := next.(*epollConn)
		hung := make(chan bool, 1)
		nextEvents.onMessage = func(m handlers.Message) error {
			hung <- second.hung // runs in the owner of the slot
			return next.Send(m.Data, m.Kind)
		}
		start(next, nextEvents)
		mustWrite(t, client, "stray\n")
		mustWrite(t, nextClient, "a\n")
		mustRead(t, nextClient, "a\n")
		<-hung
		second.mu.Lock()
		reused := second.slot == slot
		second.mu.Unlock()
		if reused {
			within(t, time.Minute, "it is watched", func() bool {
				second.mu.Lock()
				defer second.mu.Unlock()
				return second.watched && !second.busy
			})
			client.CloseWrite()
			// The event of this line comes after that of the FIN, which must not reach this
			// connection.
			mustWrite(t, nextClient, "b\n")
			mustRead(t, nextClient, "b\n")
			if <-hung {
				t.Error("the FIN of a closed connection has reached another one")
			}
			nextClient.Close()
			wantEvents(t, nextEvents, "connect", "a", "b", "disconnect <nil>")
			return
		}
		nextClient.Close()
		wantEvents(t, nextEvents, "connect", "a", "disconnect <nil>")
	}
	t.Error("the slot was not used again")
}

// A descriptor that the loop drives is only in the loop's epoll set, and edge-triggered. So its
// events wake nobody else, and no system call is needed to enable them again.
func TestTraps3Row4Row8OneRegistration(t *testing.T) {
	eachEpoll(t, noBounds, func(t *testing.T, r *rig) {
		c, rec, client := r.echo(t)
		mustWrite(t, client, "x\n")
		mustRead(t, client, "x\n")
		driven, fd := c.(*epollConn), int32(-1)
		within(t, time.Minute, "it is watched", func() bool {
			driven.mu.Lock()
			defer driven.mu.Unlock()
			fd = driven.fd
			return driven.watched && !driven.busy
		})
		inode, sets := socketInode(t, fmt.Sprint(fd)), 0
		files, err := filepath.Glob("/proc/self/fdinfo/*")
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			info, _ := os.ReadFile(file)
			for line := range strings.Lines(string(info)) {
				var tfd int // another file may have this number by now, or a closed one may still have it
				var events uint32
				var ino uint64
				n, _ := fmt.Sscanf(line, "tfd: %d events: %x", &tfd, &events)
				_, of, _ := strings.Cut(line, " ino:")
				if _, err := fmt.Sscanf(of, "%x", &ino); err != nil || n < 2 || fmt.Sprintf("socket:[%d]", ino) != inode {
					continue
				}
				if sets++; events&unix.EPOLLET == 0 || events&unix.EPOLLONESHOT != 0 {
					t.Errorf("it is registered for %#x", events)
				}
			}
		}
		if sets != 1 {
			t.Errorf("it is in %d epoll sets", sets)
		}
		client.Close()
		goneWithin(t, time.Minute, rec)
	})
}

// socketInode returns "" for a descriptor that is not a socket.
func socketInode(t *testing.T, fd string) string {
	t.Helper()
	name, _ := os.Readlink("/proc/self/fd/" + fd)
	if !strings.HasPrefix(name, "socket:") {
		return ""
	}
	return name
}

// queued returns how many bytes wait for the peer.
func (c *epollConn) queued() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.queuedLocked()
}
