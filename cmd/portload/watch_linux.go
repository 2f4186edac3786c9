package main

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// newWatcher returns a watcher with one epoll set and one goroutine for all connections.
func newWatcher(p *plan) (watcher, error) {
	if p.Goroutines {
		return &goWatcher{}, nil
	}
	set, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, err
	}
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		unix.Close(set)
		return nil, err
	}
	e := &epoll{set: set, wake: wake, timeout: p.Timeout, conns: map[int32]*rawConn{}}
	if err := e.add(int32(wake)); err != nil { //nolint:gosec // a descriptor
		unix.Close(set)
		unix.Close(wake)
		return nil, err
	}
	e.wg.Go(e.loop) // ends with close
	return e, nil
}

// epoll is a watcher of bare descriptors.
type epoll struct {
	set, wake int
	timeout   time.Duration // of a write
	wg        sync.WaitGroup

	mu    sync.Mutex
	conns map[int32]*rawConn // by descriptor
}

// A rawConn is a connection that Go's poller does not know.
type rawConn struct {
	receiver receiver
	timeout  time.Duration

	mu sync.Mutex
	fd int // -1 when it is closed
}

func (e *epoll) add(fd int32) error {
	return unix.EpollCtl(e.set, unix.EPOLL_CTL_ADD, int(fd), &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLRDHUP, Fd: fd})
}

func (e *epoll) watch(l *link, r receiver) error {
	if err := r.receive(l.early); err != nil {
		return err
	}
	fd, err := detach(l.base.Conn)
	if err != nil {
		return err
	}
	c := &rawConn{receiver: r, timeout: e.timeout, fd: fd}
	l.base.Conn, l.base.raw, l.early = nil, c, nil
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.add(int32(fd)); err != nil { //nolint:gosec // a descriptor
		return err
	}
	e.conns[int32(fd)] = c //nolint:gosec // a descriptor
	return nil
}

// detach returns a duplicate of the descriptor of c, and closes c.
func detach(c net.Conn) (fd int, err error) {
	defer c.Close()
	sc, ok := c.(syscall.Conn)
	if !ok {
		return 0, errors.ErrUnsupported
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return 0, err
	}
	failed := raw.Control(func(old uintptr) { fd, err = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0) })
	return fd, errors.Join(failed, err)
}

// loop reads until close.
func (e *epoll) loop() {
	events, buf := make([]unix.EpollEvent, 256), make([]byte, 256<<10)
	for {
		n, err := unix.EpollWait(e.set, events, -1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			panic(err) // the set is ours and open
		}
		for _, ev := range events[:max(n, 0)] {
			if int(ev.Fd) == e.wake {
				return
			}
			e.mu.Lock()
			c := e.conns[ev.Fd]
			e.mu.Unlock()
			if c != nil {
				e.read(c, buf)
			}
		}
	}
}

// read reads once: if bytes are left, there is another event.
func (e *epoll) read(c *rawConn, buf []byte) {
	fd := c.fd // only this goroutine changes it
	n, err := unix.Read(fd, buf)
	switch {
	case errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR):
		return
	case err == nil && n == 0:
		err = io.EOF
	case err == nil:
		err = c.receiver.receive(buf[:n])
	}
	if err == nil {
		return
	}
	e.mu.Lock()
	delete(e.conns, int32(fd)) //nolint:gosec // a descriptor
	e.mu.Unlock()
	c.Close()
	c.receiver.closed(err)
}

func (e *epoll) close() {
	_, _ = unix.Write(e.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0}) // cannot fail: it is the only one
	e.wg.Wait()
	for _, c := range e.conns {
		c.Close()
	}
	unix.Close(e.set)
	unix.Close(e.wake)
}

// Close closes the descriptor, once.
func (c *rawConn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fd < 0 {
		return net.ErrClosed
	}
	fd := c.fd
	c.fd = -1
	return unix.Close(fd)
}

// Write waits until the kernel has taken all of p.
func (c *rawConn) Write(p []byte) (done int, err error) {
	for late := time.Now().Add(c.timeout); done < len(p); {
		n, fd, err := c.write(p[done:])
		done += max(n, 0)
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN) && time.Now().After(late):
			return done, os.ErrDeadlineExceeded
		case errors.Is(err, unix.EAGAIN):
			// If it is closed meanwhile, the next write says so.
			_, _ = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, 100) //nolint:gosec // a descriptor
		case err != nil:
			return done, err
		}
	}
	return done, nil
}

func (c *rawConn) write(p []byte) (n, fd int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fd < 0 {
		return 0, -1, net.ErrClosed
	}
	n, err = unix.Write(c.fd, p)
	return n, c.fd, err
}
