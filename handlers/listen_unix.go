package handlers

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// UnixListener is a listener on a Unix socket. Its Close removes the socket from the file system,
// unless another file has taken its place.
type UnixListener struct {
	*net.UnixListener
	path  string
	own   os.FileInfo // nil if Close has nothing to remove
	close func() error
}

// ListenUnix listens on a Unix socket at path. It replaces a socket that nobody listens on any
// more, which is one that refuses a connection. It returns an error that wraps EADDRINUSE if path
// is not a socket, or if the owner of the socket is alive, even if that is busy or its socket is of
// another type. Servers that start and end at the same time on the same path do not remove each
// other's socket.
func ListenUnix(path string) (*UnixListener, error) {
	abstract := path == "" || path[0] == '@' || path[0] == 0
	if !abstract {
		defer lockDir(filepath.Dir(path))()
	}
	l, err := net.Listen("unix", path)
	if (errors.Is(err, syscall.EADDRINUSE) || errors.Is(err, wsaAddrInUse)) && !abstract {
		if err = removeStale(path, err); err == nil {
			l, err = net.Listen("unix", path)
		}
	}
	if err != nil {
		return nil, err
	}
	u := &UnixListener{UnixListener: l.(*net.UnixListener), path: path}
	u.close = sync.OnceValue(u.end)
	if !abstract {
		u.SetUnlinkOnClose(false)
		u.own, _ = os.Lstat(path)
	}
	return u, nil
}

// removeStale removes the socket at path if nobody listens on it. Otherwise it returns inUse with
// the reason.
func removeStale(path string, inUse error) error {
	switch fi, err := os.Lstat(path); {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("%w: %w", inUse, err)
	case fi.Mode()&os.ModeSocket == 0:
		return fmt.Errorf("%w: there is something that is no socket", inUse)
	}
	nc, err := net.DialTimeout("unix", path, time.Second)
	switch {
	case err == nil:
		nc.Close()
		return fmt.Errorf("%w: another server listens there", inUse)
	case errors.Is(err, os.ErrNotExist):
		return nil
	case !errors.Is(err, syscall.ECONNREFUSED) && !errors.Is(err, wsaConnRefused):
		return fmt.Errorf("%w: another program has the socket (%w)", inUse, err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%w: %w", inUse, err)
	}
	return nil
}

// The numbers of EADDRINUSE and ECONNREFUSED on Windows. Other systems do not use them.
const (
	wsaAddrInUse   = syscall.Errno(10048)
	wsaConnRefused = syscall.Errno(10061)
)

// Close stops listening and removes the socket.
func (u *UnixListener) Close() error { return u.close() }

// end removes the socket from the file system before it closes it, as the inode cannot be reused
// while the socket is open.
func (u *UnixListener) end() error {
	if u.own != nil {
		defer lockDir(filepath.Dir(u.path))()
		if now, err := os.Lstat(u.path); err == nil && os.SameFile(now, u.own) {
			_ = os.Remove(u.path)
		}
	}
	return u.UnixListener.Close()
}
