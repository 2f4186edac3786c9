package loop

import (
	"io"
	"net"
	"os"
	"sync/atomic"

	"github.com/portluck/portluck/handlers"
)

// A File is the [Transport] of a bare descriptor. It takes two system calls to make; a net.Conn
// takes a dozen.
type File struct{ *os.File }

// NewFile returns the File of fd, and owns fd from then on.
func NewFile(fd int) File { return File{os.NewFile(uintptr(fd), "")} }

// CloseWrite sends FIN.
func (f File) CloseWrite() error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var shutErr error
	if err := raw.Control(func(fd uintptr) { shutErr = shutWrite(int(fd)) }); err != nil {
		return err
	}
	return shutErr
}

// fileConn is a connection that was a bare descriptor, which the goroutine driver has taken.
type fileConn struct {
	File
	info   *handlers.Info
	place  io.Closer
	closed atomic.Bool // the fileSource
}

// fileSource is a fileConn as the source of its connection.
type fileSource fileConn

// Info is [handlers.Conn.Info].
func (s *fileSource) Info() *handlers.Info { return s.info }

// NetConn is [handlers.Conn.NetConn].
func (s *fileSource) NetConn() (net.Conn, error) {
	defer s.File.Close() // net.FileConn duplicates it
	return net.FileConn(s.File.File)
}

// Close is [handlers.Conn.Close].
func (s *fileSource) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	err := s.File.Close()
	s.place.Close()
	return err
}
