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
// unless somebody else has put another in its place.
type UnixListener struct {
	*net.UnixListener
	path  string
	own   os.FileInfo // nil: nothing is to be removed
	close func() error
}

// ListenUnix listens on a Unix socket at path. A socket there that nobody listens on any more, to
// which a connection is refused, is replaced. All else is an error that is EADDRINUSE: what is no
// socket, and a socket whose owner is alive, although it may be busy or of another kind. Servers
// that start and end at once on the same path do not remove each other's.
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

// removeStale removes a socket that nobody listens on. Otherwise it returns inUse, with the reason.
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

// What Windows calls EADDRINUSE and ECONNREFUSED. Other systems have no such numbers.
const (
	wsaAddrInUse   = syscall.Errno(10048)
	wsaConnRefused = syscall.Errno(10061)
)

// Close stops listening and removes the socket.
func (u *UnixListener) Close() error { return u.close() }

// end removes the socket while it is still open: its inode cannot become another's by then.
func (u *UnixListener) end() error {
	if u.own != nil {
		defer lockDir(filepath.Dir(u.path))()
		if now, err := os.Lstat(u.path); err == nil && os.SameFile(now, u.own) {
			_ = os.Remove(u.path)
		}
	}
	return u.UnixListener.Close()
}
