package main

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// dialers is how many connections are opened at once.
const dialers = 16

// localIPs is how many local addresses the connections come from: each has 28,000 ports, and a closed one waits.
const localIPs = 16

// stuckBuffer is what the kernel may hold for a client that does not read.
const stuckBuffer = 4 << 10

// open opens connections, each of which sends one message and gets its echo, so that the server knows what it is.
func (l *load) open(q request) error {
	tag := byte(tagEcho)
	if q.Join {
		tag = tagJoin
	}
	if q.Join && l.publisher == nil {
		k, err := l.dial(q, tagEcho, 0)
		if err != nil {
			return err
		}
		l.publisher = k
		if err := l.poll(k); err != nil {
			return err
		}
	}
	links, err := l.dialAll(q.Stuck, func(i int) (*link, error) { return l.dial(q, tag, i) })
	l.stuck = append(l.stuck, links...)
	if err != nil {
		return err
	}
	keep := q
	keep.Stuck = 0
	links, err = l.dialAll(q.Conns, func(i int) (*link, error) { return l.dial(keep, tag, i) })
	l.clients = append(l.clients, links...)
	if err != nil || isSecure(q.Proto) { // those only wait
		return err
	}
	for _, k := range links {
		if err := l.poll(k); err != nil {
			return err
		}
	}
	return nil
}

// dialAll calls dial n times, some at once, and returns what was opened and the first error.
func (l *load) dialAll(n int, dial func(i int) (*link, error)) (links []*link, failed error) {
	var wg sync.WaitGroup
	var mu sync.Mutex
	next := 0
	take := func() (int, bool) {
		mu.Lock()
		defer mu.Unlock()
		next++
		return next, next <= n && failed == nil
	}
	for range min(n, dialers) {
		wg.Go(func() { // ends when there is no next
			for i, ok := take(); ok; i, ok = take() {
				k, err := dial(i)
				mu.Lock()
				if err == nil {
					links = append(links, k)
				} else {
					failed = err
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return links, failed
}

// dial connects from local address i, shakes hands, and has one message echoed.
func (l *load) dial(q request, tag byte, i int) (*link, error) {
	buffer := 0
	if q.Stuck > 0 {
		buffer = stuckBuffer
	}
	fd, err := connect(q.Addr, i, buffer)
	if err != nil {
		return nil, err
	}
	k := &link{fd: fd, size: q.Size}
	var c net.Conn = &blocking{fd: fd}
	if isSecure(q.Proto) {
		c = tls.Client(c, &tls.Config{
			InsecureSkipVerify: true, //nolint:gosec // there is nothing to protect
		})
	}
	if k.unit, err = firstEcho(c, q, tag); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return k, nil
}

// connect returns a blocking descriptor that gives up after a while.
func connect(addr string, i, buffer int) (int, error) {
	to, err := netip.ParseAddrPort(addr)
	if err != nil {
		return 0, err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	limit := unix.NsecToTimeval(stallTime.Nanoseconds())
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1),
		unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &limit),
		unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 1, byte(i % localIPs)}}),
	)
	if buffer > 0 {
		err = errors.Join(err, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, buffer))
	}
	if err == nil {
		_, err = retry(func() (int, error) {
			return 0, unix.Connect(fd, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()})
		})
	}
	if err != nil && !errors.Is(err, unix.EISCONN) { // it is, when a signal came before connect could say so
		unix.Close(fd)
		return 0, fmt.Errorf("connect: %w", err)
	}
	return fd, nil
}

// firstEcho shakes hands, sends a message and returns how long its echo is on the wire.
func firstEcho(c net.Conn, q request, tag byte) (int, error) {
	if isWebSocket(q.Proto) {
		if err := upgrade(c); err != nil {
			return 0, err
		}
	}
	if _, err := c.Write(frame(q.Proto, tag, q.Size)); err != nil {
		return 0, err
	}
	in := make([]byte, 0, q.Size+64)
	for {
		n, err := c.Read(in[len(in):cap(in)])
		if err != nil {
			return 0, fmt.Errorf("first echo: %w", err)
		}
		in = in[:len(in)+n]
		payload, unit := reply(q.Proto, in)
		switch {
		case unit > 0 && unit == len(in) && bytes.Equal(payload, message(tag, q.Size)):
			return unit, nil
		case unit > 0 || len(in) == cap(in):
			return 0, fmt.Errorf("the first echo is %.60q", in)
		}
	}
}

// upgrade makes c a WebSocket.
func upgrade(c net.Conn) error {
	if _, err := io.WriteString(c, handshake); err != nil {
		return err
	}
	var in []byte
	for b := make([]byte, 1<<10); !bytes.HasSuffix(in, []byte(endOfHeader)); {
		n, err := c.Read(b)
		if err != nil {
			return fmt.Errorf("handshake: %w", err)
		}
		in = append(in, b[:n]...)
	}
	if !bytes.HasPrefix(in, []byte("HTTP/1.1 101 ")) {
		return fmt.Errorf("the answer to the handshake is %.60q", in)
	}
	return nil
}

// blocking is a net.Conn of a blocking descriptor, whose timeouts are the kernel's.
type blocking struct {
	net.Conn // nil: crypto/tls calls no more than what is below
	fd       int
}

func (b *blocking) Read(p []byte) (int, error) {
	n, err := retry(func() (int, error) { return unix.Read(b.fd, p) })
	if n == 0 && err == nil && len(p) > 0 {
		return 0, io.EOF
	}
	return max(n, 0), os.NewSyscallError("read", err)
}

func (b *blocking) Write(p []byte) (int, error) {
	n, err := retry(func() (int, error) { return unix.Write(b.fd, p) }) // all of it: the descriptor is blocking
	return max(n, 0), os.NewSyscallError("write", err)
}

func (b *blocking) Close() error                { return unix.Close(b.fd) }
func (b *blocking) SetDeadline(time.Time) error { return nil }
