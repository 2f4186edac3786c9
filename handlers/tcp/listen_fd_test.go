//go:build unix

// Listeners have no descriptors on Windows.

package tcp

import (
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestNodeN10ListenFD(t *testing.T) {
	eachDriver(t, func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		f, err := l.(*net.TCPListener).File()
		if err != nil {
			t.Fatal(err)
		}
		v := &Server{Events: answering(t)}
		if err := v.ListenFD(inherited(f)); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { shutdown(t, v) })
		l.Close() // the listener has another descriptor
		getHello(t, http.DefaultTransport, "http://"+v.Addr().String())
	})
	for _, fd := range []uintptr{1 << 20, 1 << 31, ^uintptr(0), ^uintptr(0) &^ (1<<31 - 1)} {
		if err := new(Server).ListenFD(fd); !errors.Is(err, syscall.EBADF) {
			t.Errorf("ListenFD(%d) of a descriptor that is not open = %v, want EBADF", fd, err)
		}
	}
}

// inherited returns the descriptor of f, which f does not close.
func inherited(f *os.File) uintptr {
	keep = append(keep, f)
	return f.Fd()
}

var keep []*os.File

// If ListenFD fails, the descriptor stays as it was: open, and blocking if it was blocking.
func TestListenFDFails(t *testing.T) {
	busy := &Server{}
	listen(t, busy)
	tests := []struct {
		name string
		v    *Server
		file func(t *testing.T) *os.File
	}{
		{"the server listens already", busy, func(t *testing.T) *os.File {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			return fileOf(t, l.(*net.TCPListener))
		}},
		{"a Unix socket, the server listens already", busy, func(t *testing.T) *os.File {
			l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { l.Close() })
			return fileOf(t, l.(*net.UnixListener))
		}},
		{"a connection", &Server{}, func(t *testing.T) *os.File {
			return fileOf(t, plainDial(t, busy.Addr().String()))
		}},
		{"a datagram socket", &Server{}, func(t *testing.T) *os.File {
			pc, err := net.ListenPacket("udp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer pc.Close()
			return fileOf(t, pc.(*net.UDPConn))
		}},
		{"a file", &Server{}, func(t *testing.T) *os.File {
			f, err := os.Create(filepath.Join(t.TempDir(), "file"))
			if err != nil {
				t.Fatal(err)
			}
			return f
		}},
		{"a directory", &Server{}, func(t *testing.T) *os.File {
			f, err := os.Open(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			return f
		}},
		{"a pipe", &Server{}, func(t *testing.T) *os.File {
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { w.Close() })
			return r
		}},
		{"a socket that is bound only", &Server{}, func(t *testing.T) *os.File {
			fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
			if err == nil {
				err = unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}})
			}
			if err != nil {
				t.Fatal(err)
			}
			return os.NewFile(uintptr(fd), "bound")
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := tt.file(t)
			defer f.Close()
			for _, blocks := range []bool{true, false} {
				fd := f.Fd() // makes it blocking
				if err := syscall.SetNonblock(int(fd), !blocks); err != nil {
					t.Fatal(err)
				}
				if err := tt.v.ListenFD(fd); err == nil {
					t.Fatal("ListenFD() = nil")
				}
				runtime.GC() // closes files that nothing refers to
				flags, err := unix.FcntlInt(fd, unix.F_GETFL, 0)
				if err != nil || (flags&unix.O_NONBLOCK == 0) != blocks {
					t.Errorf("flags %o, %v, want blocking %t", flags, err, blocks)
				}
			}
			if _, err := f.Stat(); err != nil {
				t.Error(err)
			}
		})
	}
}

// fileOf returns a duplicate of a socket.
func fileOf(t *testing.T, s interface{ File() (*os.File, error) }) *os.File {
	t.Helper()
	f, err := s.File()
	if err != nil {
		t.Fatal(err)
	}
	return f
}
