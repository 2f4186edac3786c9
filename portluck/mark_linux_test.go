package portluck

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// sendMarked writes before, then the mark and the first byte of after, then the rest of it.
func sendMarked(t *testing.T, c net.Conn, before, after string) {
	t.Helper()
	if before != "" {
		send(t, c, before)
	}
	switch c := c.(type) {
	case *net.UnixConn:
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { r.Close() })
		if _, _, err := c.WriteMsgUnix([]byte(after[:1]), unix.UnixRights(int(w.Fd())), nil); err != nil {
			t.Fatal(err)
		}
		w.Close()
		send(t, c, after[1:])
		ended := make(chan error, 1)
		go func() { // ends when nobody has w
			_, err := r.Read(make([]byte, 1))
			ended <- err
		}()
		t.Cleanup(func() {
			select {
			case err := <-ended:
				if err != io.EOF {
					t.Errorf("the pipe that was passed: %v, want its end", err)
				}
			case <-time.After(patience):
				t.Error("the server keeps the descriptor that was passed")
			}
		})
	case *net.TCPConn:
		raw, err := c.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		if ctl := raw.Control(func(fd uintptr) {
			err = unix.Sendto(int(fd), []byte(after[:1]), unix.MSG_OOB, nil)
		}); ctl != nil || err != nil {
			t.Fatal(ctl, err)
		}
		send(t, c, after[1:])
	}
}

// Urgent data is read like other data, and a descriptor that a client passes is closed. The bytes
// that follow either are read too: while the protocol is unknown, in a line, in a request and in a
// frame.
func TestMarks(t *testing.T) {
	const (
		request = "POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 3\r\n\r\nhi\n"
		upgrade = "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
			"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
	)
	frame := "\x81\x85\x00\x00\x00\x00hello"
	for _, network := range []string{"tcp", "tcp of net.Listen", "unix"} {
		for _, goroutines := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, Goroutines %t", network, goroutines), func(t *testing.T) {
				t.Parallel()
				addr := "127.0.0.1:0"
				if network == "unix" {
					addr = "unix:" + filepath.Join(t.TempDir(), "s")
				}
				var l net.Listener
				if network == "tcp of net.Listen" {
					l = must(net.Listen("tcp", addr))
				} else {
					l = must(Listen(addr))[0]
				}
				s := &Server{Hub: echoHub(), Goroutines: goroutines, TLSConfig: withTLS()}
				serveOn(t, s, l)
				open := func() net.Conn {
					c := must(net.Dial(l.Addr().Network(), l.Addr().String()))
					t.Cleanup(func() { c.Close() })
					_ = c.SetDeadline(time.Now().Add(patience))
					return c
				}
				for _, at := range []int{0, 1, 3, 5} {
					c := open()
					sendMarked(t, c, "hello\n"[:at], "hello\n"[at:])
					expect(t, c, "hello\n")
					for range 3 {
						sendMarked(t, c, "hello\n"[:at], "hello\nsecond\n"[at:])
						expect(t, c, "hello\nsecond\n")
					}
				}
				for _, at := range []int{0, 2, 10, 30, len(request) - 2} {
					c := open()
					sendMarked(t, c, request[:at], request[at:])
					if got := expectEnd(t, c); len(got) < 3 || got[len(got)-3:] != "hi\n" {
						t.Errorf("a request with a mark at %d: %q", at, got)
					}
				}
				for _, at := range []int{0, 1, 4, 8} {
					c := open()
					sendMarked(t, c, upgrade[:20], upgrade[20:])
					expectUpgrade(t, c)
					sendMarked(t, c, frame[:at], frame[at:])
					expect(t, c, "\x81\x05hello")
				}
			})
		}
	}
}

// expectUpgrade reads the answer to a WebSocket handshake.
func expectUpgrade(t *testing.T, c net.Conn) {
	t.Helper()
	var head []byte
	for b := make([]byte, 1); len(head) < 4 || string(head[len(head)-4:]) != "\r\n\r\n"; {
		if _, err := c.Read(b); err != nil {
			t.Fatalf("%q, %v", head, err)
		}
		head = append(head, b...)
	}
	if string(head[:12]) != "HTTP/1.1 101" {
		t.Fatalf("%q", head)
	}
}
