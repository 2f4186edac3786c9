package main

import (
	"bytes"
	"errors"
	"io"
	"net"
	"runtime"

	"github.com/gobwas/ws"
	"golang.org/x/sys/unix"
)

// serveBare echoes with one epoll loop that knows nothing but lines or unfragmented frames.
func serveBare(e endpoint) error {
	tcp, ok := e.Listener.(*net.TCPListener)
	if !ok || e.tls != nil {
		return errors.ErrUnsupported
	}
	f, err := tcp.File()
	if err != nil {
		return err
	}
	defer f.Close()
	tcp.Close()
	runtime.LockOSThread()
	b := &bare{listener: int(f.Fd()), buf: make([]byte, 256<<10), ws: isWebSocket(e.proto)}
	if b.set, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return err
	}
	if err := unix.SetNonblock(b.listener, true); err != nil {
		return err
	}
	if err := b.add(b.listener); err != nil {
		return err
	}
	return b.loop()
}

// bare is the loop. conns is indexed by descriptor.
type bare struct {
	set, listener int
	ws            bool
	buf, out      []byte
	conns         []bareConn
	members       []int
}

type bareConn struct {
	upgraded bool
	partial  []byte // of a message; nil between messages
}

func (b *bare) add(fd int) error {
	return unix.EpollCtl(b.set, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}) //nolint:gosec // a descriptor
}

func (b *bare) loop() error {
	events := make([]unix.EpollEvent, 256)
	for {
		n, err := unix.EpollWait(b.set, events, -1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		for _, e := range events[:max(n, 0)] {
			if fd := int(e.Fd); fd != b.listener {
				b.serve(fd)
			} else if err := b.accept(); err != nil {
				return err
			}
		}
	}
}

func (b *bare) accept() error {
	for {
		fd, _, err := unix.Accept4(b.listener, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		if err != nil {
			if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.ECONNABORTED) {
				return nil
			}
			return err
		}
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1) // else it is only slower
		for len(b.conns) <= fd {
			b.conns = append(b.conns, bareConn{})
		}
		b.conns[fd] = bareConn{upgraded: !b.ws}
		if err := b.add(fd); err != nil {
			return err
		}
	}
}

// serve reads once, and writes once.
func (b *bare) serve(fd int) {
	c := &b.conns[fd]
	had := copy(b.buf, c.partial)
	n, err := unix.Read(fd, b.buf[had:])
	if n <= 0 {
		if !errors.Is(err, unix.EAGAIN) {
			unix.Close(fd)
			*c = bareConn{}
		}
		return
	}
	in := b.buf[:had+n]
	b.out = b.out[:0]
	switch {
	case !c.upgraded:
		in = b.upgrade(c, in)
	case b.ws:
		in = b.frames(fd, in)
	default:
		end := bytes.LastIndexByte(in, '\n') + 1
		b.out, in = append(b.out, in[:end]...), in[end:]
	}
	c.partial = append(c.partial[:0], in...)
	if len(in) == 0 {
		c.partial = nil
	}
	writeAll(fd, b.out)
}

// upgrade answers the handshake, if all of it has come.
func (b *bare) upgrade(c *bareConn, in []byte) []byte {
	if !bytes.HasSuffix(in, []byte(endOfHeader)) {
		return in
	}
	out := frameBuffer(b.out)
	_, err := ws.Upgrade(struct {
		io.Reader
		io.Writer
	}{bytes.NewReader(in), &out})
	c.upgraded = err == nil
	b.out = out
	return nil
}

// frames answers the complete frames, and returns the rest.
func (b *bare) frames(fd int, in []byte) []byte {
	var publish []byte
	for {
		begin, size, ok := parseHeader(in)
		if !ok || begin+size > len(in) {
			break
		}
		payload := in[begin : begin+size]
		ws.Cipher(payload, [4]byte(in[begin-4:]), 0)
		switch payload[0] {
		case tagPublish:
			publish = appendFrame(publish, in[0], payload)
		case tagJoin:
			b.members = append(b.members, fd)
			fallthrough
		default:
			b.out = appendFrame(b.out, in[0], payload)
		}
		in = in[begin+size:]
	}
	for _, member := range b.members {
		if publish == nil {
			break
		}
		writeAll(member, publish)
	}
	return in
}

// appendFrame appends a frame without a mask.
func appendFrame(dst []byte, first byte, payload []byte) []byte {
	n := len(payload)
	switch {
	case n < 126:
		dst = append(dst, first, byte(n))
	case n < 1<<16:
		dst = append(dst, first, 126, byte(n>>8), byte(n))
	default:
		dst = append(dst, first, 127, 0, 0, 0, 0, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
	}
	return append(dst, payload...)
}

// writeAll writes all of p. It waits for clients that do not read, which they do soon.
func writeAll(fd int, p []byte) {
	for len(p) > 0 {
		n, err := unix.Write(fd, p)
		switch {
		case errors.Is(err, unix.EAGAIN):
			_, _ = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, -1) //nolint:gosec // a descriptor
		case err != nil:
			return // it is gone, as the read will tell
		default:
			p = p[n:]
		}
	}
}
