package loop

import (
	"errors"
	"net"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// listening returns the descriptor of a listening socket that Go's poller does not know.
func listening(t *testing.T) (fd int, addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	raw, err := l.(*net.TCPListener).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(old uintptr) { fd, err = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0) }); err != nil || fd < 0 {
		t.Fatal(err)
	}
	l.Close()
	t.Cleanup(func() { unix.Close(fd) })
	return fd, l.Addr().String()
}

// Wait returns when a connection comes, or has come before the call, and after Stop.
func TestWaiter(t *testing.T) {
	eachEpoll(t, noBounds, func(t *testing.T, r *rig) {
		fd, addr := listening(t)
		w, err := r.NewWaiter(fd)
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		other, otherAddr := listening(t)
		ow, err := r.NewWaiter(other)
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			for _, addr := range []string{addr, otherAddr} {
				c, err := net.Dial("tcp", addr)
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
			}
			w.Wait()
			ow.Wait()
			for _, fd := range []int{fd, other} {
				nfd, _, err := unix.Accept4(fd, unix.SOCK_CLOEXEC)
				if err != nil {
					t.Fatal(err)
				}
				unix.Close(nfd)
			}
		}
		if err := w.Err(); err != nil {
			t.Errorf("Err() = %v before Stop", err)
		}
		w.Leave()
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := w.Join(); err != nil {
			t.Fatal(err)
		}
		w.Wait() // for what has come meanwhile
		ow.Close()
		if c, err := net.Dial("tcp", otherAddr); err == nil { // wakes nobody
			defer c.Close()
		}
		done := make(chan struct{})
		go func() { // ends by Stop
			defer close(done)
			w.Wait()
		}()
		w.Stop()
		<-done
		w.Wait() // and each later one
		if err := w.Err(); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("Err() = %v after Stop", err)
		}
		_, rec, client := r.echo(t)
		mustWrite(t, client, "x\n")
		mustRead(t, client, "x\n")
		client.Close()
		goneWithin(t, time.Minute, rec)
	})
}

// NewWaiter frees its slot if it fails, and it fails once the loop is closed.
func TestWaiterFails(t *testing.T) {
	r := epollRig(t, noBounds())
	fd, _ := listening(t)
	if w, err := r.NewWaiter(1 << 30); err == nil {
		t.Errorf("NewWaiter() = %v without a descriptor", w)
	}
	if len(r.poller.waiters) != 0 {
		t.Errorf("%d waiters", len(r.poller.waiters))
	}
	r.Close()
	r.Wait()
	if w, err := r.NewWaiter(fd); err == nil {
		t.Errorf("NewWaiter() = %v after Close", w)
	}
}
