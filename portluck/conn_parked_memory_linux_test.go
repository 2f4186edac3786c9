package portluck

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// fdConn is a client's end as a bare descriptor, which takes no memory of the process.
type fdConn int

func (c fdConn) Read(p []byte) (int, error) {
	n, err := unix.Read(int(c), p)
	if n == 0 && err == nil {
		return 0, io.EOF
	}
	return max(n, 0), err
}

func (c fdConn) Write(p []byte) (int, error)      { return unix.Write(int(c), p) }
func (c fdConn) Close() error                     { return unix.Close(int(c)) }
func (c fdConn) LocalAddr() net.Addr              { return nil }
func (c fdConn) RemoteAddr() net.Addr             { return nil }
func (c fdConn) SetDeadline(time.Time) error      { return nil }
func (c fdConn) SetReadDeadline(time.Time) error  { return nil }
func (c fdConn) SetWriteDeadline(time.Time) error { return nil }

func dialFD(t *testing.T, addr netip.AddrPort) fdConn {
	t.Helper()
	fd := must(unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0))
	if err := unix.Connect(fd, &unix.SockaddrInet4{Addr: addr.Addr().As4(), Port: int(addr.Port())}); err != nil {
		t.Fatal(err)
	}
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	return fdConn(fd)
}

// live returns how many bytes of the heap are in use, and the number of goroutines.
func live() (bytes int64, goroutines int) {
	for range 3 {
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc), runtime.NumGoroutine()
}

// An idle HTTP connection takes no goroutine and little memory, also after its second request.
func TestParkedMemory(t *testing.T) {
	if !alone(t) {
		return
	}
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		n      int
		secure bool
		most   int64 // bytes of each
	}{{"plain", 3000, false, 400}, {"TLS", 200, true, 8 << 10}} {
		t.Run(tt.name, func(t *testing.T) {
			hub, _ := record(echo)
			hub.OnConnect, hub.OnMessage, hub.OnDisconnect = nil, func(m Message, w *Writer, _ *Client) { echo(m, w) }, nil
			s := &Server{Hub: hub, ParkAfter: parksAtOnce, TLSConfig: withTLS()}
			addr := netip.MustParseAddrPort(serve(t, s))
			n := min(tt.n, int(limit.Cur)/4)
			all := make([]fdConn, 0, n)
			defer func() {
				for _, c := range all {
					c.Close()
				}
			}()
			fill := func(n int) (bytes int64, goroutines int) {
				for len(all) < n {
					all = append(all, askFD(t, tt.secure, dialFD(t, addr)))
				}
				waitParked(t, s, n)
				if !tt.secure {
					for _, c := range all {
						askFD(t, false, c)
					}
					waitParked(t, s, n)
				}
				return live()
			}
			before, goroutines := fill(n / 6) // includes what the server itself needs
			after, more := fill(n)
			each := (after - before) / int64(n-n/6)
			t.Logf("%d bytes for each of %d connections, %d more goroutines", each, n-n/6, more-goroutines)
			if each > tt.most && !raceEnabled || more > goroutines+8 {
				t.Errorf("%d bytes for each of %d connections, want %d; %d more goroutines", each, n-n/6, tt.most, more-goroutines)
			}
		})
	}
}

// askFD sends a request and reads its answer. It drops the client's state of TLS and returns only
// the descriptor.
func askFD(t *testing.T, secure bool, fd fdConn) fdConn {
	t.Helper()
	var c net.Conn = fd
	if secure {
		c = tls.Client(fd, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
	}
	if _, err := io.WriteString(c, postHi); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, res.Body); err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%s, %v", res.Status, err)
	}
	return fd
}
