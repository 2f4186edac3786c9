package portluck

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/loop"
	"golang.org/x/net/nettest"
	"golang.org/x/sys/unix"
)

// lazyPair is a lazyConn and its peer.
func lazyPair(t testing.TB) (*lazyConn, *net.TCPConn) {
	t.Helper()
	l := listen(t)
	client := dial(t, l.Addr().String())
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	raw, err := server.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	fd := -1
	if err := raw.Control(func(from uintptr) { fd, err = unix.FcntlInt(from, unix.F_DUPFD_CLOEXEC, 0) }); err != nil || fd < 0 {
		t.Fatal(err)
	}
	c := &conn{sock: &descriptor{fd, true}, info: newInfo(handlers.AddrPort(server.LocalAddr()), handlers.AddrPort(server.RemoteAddr()))}
	lazy := c.lazy()
	t.Cleanup(func() { lazy.Close() })
	return lazy, client
}

// It is not parallel: package nettest allows each part one minute, which a thousand round trips
// between goroutines may exceed while other tests use all processors.
func TestLazyConnIsANetConn(t *testing.T) {
	nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
		lazy, client := lazyPair(t)
		return lazy, client, func() { lazy.Close(); client.Close() }, nil
	})
}

// Neither an os.File nor a *net.TCPConn is made for a client that sends everything at once, reads
// the answer and leaves.
func TestLazyConnStaysADescriptor(t *testing.T) {
	lazy, client := lazyPair(t)
	io.WriteString(client, "question")
	client.CloseWrite()
	waitReadable(t, lazy.fd)
	lazy.SetDeadline(time.Now().Add(time.Minute))
	if got := readString(t, lazy, 8); got != "question" {
		t.Errorf("Read() = %q", got)
	}
	if _, err := lazy.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("Read() = %v, want EOF", err)
	}
	io.WriteString(lazy, "answer")
	lazy.CloseWrite()
	if got, err := io.ReadAll(client); string(got) != "answer" || err != nil {
		t.Errorf("ReadAll() = %q, %v", got, err)
	}
	if lazy.nc != nil {
		t.Errorf("it has become a %T", lazy.nc)
	}
	if err := lazy.Close(); err != nil {
		t.Errorf("Close() = %v", err)
	}
	if _, err := lazy.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Write() = %v", err)
	}
}

// A deadline that was moved or removed does not expire.
func TestLazyConnMovesDeadlines(t *testing.T) {
	t.Parallel()
	for name, move := range map[string]time.Time{"later": time.Now().Add(time.Minute), "away": {}} {
		t.Run(name, func(t *testing.T) {
			for !movesDeadline(t, move) {
			}
		})
	}
}

// movesDeadline moves the deadline of a waiting Read. It returns false if the machine was too busy
// to do so in time.
func movesDeadline(t *testing.T, move time.Time) bool {
	lazy, client := lazyPair(t)
	lazy.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
	if _, err := lazy.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("Read() = %v", err)
	}
	begin := time.Now()
	lazy.SetReadDeadline(begin.Add(time.Second))
	got := make(chan error, 1)
	go func() { // ends when the client writes
		_, err := lazy.Read(make([]byte, 1))
		got <- err
	}()
	eventually(t, "a reader", func() bool {
		lazy.mu.Lock()
		defer lazy.mu.Unlock()
		return lazy.in.waiting > 0 || len(got) > 0
	})
	lazy.SetReadDeadline(move)
	if time.Since(begin) >= time.Second {
		io.WriteString(client, "x")
		<-got
		return false
	}
	select {
	case err := <-got:
		t.Errorf("Read() = %v at the old deadline", err)
		return true
	case <-time.After(1100 * time.Millisecond):
	}
	io.WriteString(client, "x")
	if err := <-got; err != nil {
		t.Errorf("Read() = %v", err)
	}
	return true
}

// The *net.TCPConn of a lazyConn has the deadlines that were set before, and later ones apply to it
// at once.
func TestLazyConnHandsDeadlinesOver(t *testing.T) {
	lazy, _ := lazyPair(t)
	lazy.SetReadDeadline(time.Unix(1, 0))
	tcp, err := lazy.real()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tcp.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("Read() = %v", err)
	}
	lazy.SetDeadline(time.Time{})
	tcp.SetWriteDeadline(time.Unix(1, 0))
	if _, err := lazy.Write([]byte("x")); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("Write() = %v", err)
	}
}

// Calls that wait go on, with all of their bytes and their deadlines, when somebody asks for the
// *net.TCPConn.
func TestLazyConnIsReplacedWhileCallsWait(t *testing.T) {
	lazy, client := lazyPair(t)
	if err := lazy.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	sent := bytes.Repeat([]byte("0123456789abcdef"), 1<<20)
	errs := make(chan error, 2)
	go func() { // ends when the client has read
		_, err := lazy.Write(sent)
		errs <- err
	}()
	go func() { // ends when the client writes
		_, err := lazy.Read(make([]byte, 1))
		errs <- err
	}()
	eventually(t, "two calls that wait", func() bool {
		lazy.mu.Lock()
		defer lazy.mu.Unlock()
		return lazy.in.waiting+lazy.out.waiting == 2
	})
	if _, file := lazy.nc.(loop.File); !file {
		t.Errorf("they wait with a %T", lazy.nc)
	}
	tcp, err := lazy.real()
	if err != nil {
		t.Fatal(err)
	}
	if again, err := lazy.real(); again != tcp || err != nil {
		t.Errorf("real() = %p, %v, then %p", tcp, err, again)
	}
	io.WriteString(client, "x")
	got := make([]byte, len(sent))
	if _, err := io.ReadFull(client, got); err != nil || !bytes.Equal(got, sent) {
		t.Errorf("the client has read something else, %v", err)
	}
	for range 2 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	go func() { // ends by the deadline
		_, err := lazy.Read(make([]byte, 1))
		errs <- err
	}()
	lazy.SetReadDeadline(time.Unix(1, 0))
	if err := <-errs; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("Read() = %v", err)
	}
}

// Once a lazyConn is closed nothing is made of it, whatever it was.
func TestLazyConnIsClosed(t *testing.T) {
	for name, use := range map[string]func(*lazyConn){
		"descriptor": func(*lazyConn) {},
		"file": func(l *lazyConn) {
			l.SetReadDeadline(time.Now().Add(time.Millisecond))
			l.Read(make([]byte, 1))
		},
		"TCPConn": func(l *lazyConn) { l.real() },
	} {
		t.Run(name, func(t *testing.T) {
			lazy, _ := lazyPair(t)
			use(lazy)
			if err := lazy.Close(); err != nil {
				t.Errorf("Close() = %v", err)
			}
			_, read := lazy.Read(make([]byte, 1))
			_, write := lazy.Write([]byte("x"))
			_, from := lazy.ReadFrom(bytes.NewReader(nil))
			_, raw := lazy.SyscallConn()
			for i, err := range []error{read, write, from, raw, lazy.CloseWrite(), lazy.SetDeadline(time.Time{}), lazy.Close()} {
				if _, ok := err.(*net.OpError); !ok || !errors.Is(err, net.ErrClosed) {
					t.Errorf("%d: %v", i, err)
				}
			}
		})
	}
}

func waitReadable(t testing.TB, fd int) {
	t.Helper()
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN | unix.POLLRDHUP}}
	for {
		_, err := unix.Poll(fds, 10_000)
		if err == nil {
			break
		}
		if err != unix.EINTR {
			t.Fatal(err)
		}
	}
	eventually(t, "the FIN", func() bool {
		_, err := unix.Poll(fds, 0)
		return err == nil && fds[0].Revents&unix.POLLRDHUP != 0
	})
}

func readString(t testing.TB, c net.Conn, n int) string {
	buf := make([]byte, n)
	if _, err := io.ReadFull(c, buf); err != nil {
		t.Errorf("Read() = %v", err)
	}
	return string(buf)
}
