//go:build linux

package handlers

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
)

// unixSocket binds a socket to path. The caller closes it.
func unixSocket(t *testing.T, kind int, path string) int {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_UNIX, kind|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Bind(fd, &syscall.SockaddrUnix{Name: path}); err != nil {
		t.Fatal(err)
	}
	return fd
}

// liveSocket is unixSocket for a socket that is closed when the test ends.
func liveSocket(t *testing.T, kind int, path string) int {
	t.Helper()
	fd := unixSocket(t, kind, path)
	t.Cleanup(func() { syscall.Close(fd) })
	return fd
}

// A socket is stale only if it refuses connections.
func TestListenUnixInTheWay(t *testing.T) {
	for _, tt := range []struct {
		name  string
		put   func(t *testing.T, path string)
		stale bool
		says  string
	}{
		{"nothing", func(*testing.T, string) {}, true, ""},
		{"a stale socket", func(t *testing.T, path string) {
			l, err := net.Listen("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			l.(*net.UnixListener).SetUnlinkOnClose(false)
			l.Close()
		}, true, ""},
		{"a stale datagram socket", func(t *testing.T, path string) {
			syscall.Close(unixSocket(t, syscall.SOCK_DGRAM, path))
		}, true, ""},
		{"a server", func(t *testing.T, path string) {
			l, err := net.Listen("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { l.Close() })
		}, false, "another server listens there"},
		{"a server with a full backlog", func(t *testing.T, path string) {
			if err := syscall.Listen(liveSocket(t, syscall.SOCK_STREAM, path), 0); err != nil {
				t.Fatal(err)
			}
			c, err := net.Dial("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { c.Close() })
		}, false, syscall.EAGAIN.Error()},
		{"a datagram socket", func(t *testing.T, path string) {
			liveSocket(t, syscall.SOCK_DGRAM, path)
		}, false, syscall.EPROTOTYPE.Error()},
		{"a socket of packets", func(t *testing.T, path string) {
			if err := syscall.Listen(liveSocket(t, syscall.SOCK_SEQPACKET, path), 1); err != nil {
				t.Fatal(err)
			}
		}, false, syscall.EPROTOTYPE.Error()},
		{"a file", func(t *testing.T, path string) {
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}, false, "no socket"},
		{"a link to nowhere", func(t *testing.T, path string) {
			if err := os.Symlink(path+"2", path); err != nil {
				t.Fatal(err)
			}
		}, false, "no socket"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "s")
			tt.put(t, path)
			before, _ := os.Lstat(path)
			l, err := ListenUnix(path)
			if tt.stale {
				if err != nil {
					t.Fatal(err)
				}
				c, err := net.Dial("unix", path)
				if err != nil {
					t.Fatal(err)
				}
				c.Close()
				l.Close()
				if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
					t.Errorf("after Close Lstat() = %v", err)
				}
				return
			}
			if !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("ListenUnix() = %v, want EADDRINUSE and %q", err, tt.says)
			}
			if after, err := os.Lstat(path); err != nil || !os.SameFile(before, after) {
				t.Errorf("what was there was touched: %v", err)
			}
		})
	}
}

// A file that has replaced the socket is not removed.
func TestListenUnixCloseLeavesAnothers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := ListenUnix(path)
	if err != nil {
		t.Fatal(err)
	}
	os.Remove(path)
	other, err := ListenUnix(path)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	for range 2 {
		l.Close()
	}
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatalf("the other's is gone: %v", err)
	}
	c.Close()
}

// If servers start at once over a stale socket, one of them gets the path, and keeps it.
func TestListenUnixAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	for range 20 {
		syscall.Close(unixSocket(t, syscall.SOCK_STREAM, path))
		var won atomic.Pointer[UnixListener]
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				l, err := ListenUnix(path)
				if err != nil {
					return
				}
				if !won.CompareAndSwap(nil, l) {
					t.Error("two have it")
					l.Close()
				}
			})
		}
		wg.Wait()
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
		won.Load().Close()
	}
}
