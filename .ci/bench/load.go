package main

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// stallTime is how long a load waits for a server that owes it something.
const stallTime = 10 * time.Second

// A load is the child process with the clients: one thread and one epoll set, so that they cost little.
type load struct {
	set    int
	events []unix.EpollEvent
	buf    []byte

	links     []*link // at the index of their descriptor, if they are polled
	clients   []*link
	stuck     []*link
	publisher *link
	latency   []time.Duration
}

// A link is a connection to the server, with the handshakes done.
type link struct {
	fd       int
	size     int    // bytes of a message
	unit     int    // bytes of an echo or a delivery
	got      int    // bytes of the next one
	received int    // echoes or deliveries
	flying   int    // messages that have no echo yet
	rest     []byte // not sent yet
	sent     time.Time
}

func newLoad() *load {
	set, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		fail("load", err)
	}
	return &load{set: set, events: make([]unix.EpollEvent, 512), buf: make([]byte, 256<<10)}
}

func (l *load) do(q request) (a answer, err error) {
	l.latency = l.latency[:0]
	switch q.Do {
	case "open":
		err = l.open(q)
	case "close":
		l.close()
	case "echo":
		a.Ops, err = l.echo(q)
	case "short":
		a.Ops, err = l.short(q)
	case "fan":
		a.Ops, err = l.fan(q)
	default:
		err = errors.New("no such request")
	}
	if n := len(l.latency); n > 0 {
		slices.Sort(l.latency)
		a.P50, a.P99 = l.latency[n/2].Seconds(), l.latency[n*99/100].Seconds()
	}
	return a, err
}

// poll watches k, whose descriptor is not blocking from now on.
func (l *load) poll(k *link) error {
	for len(l.links) <= k.fd {
		l.links = append(l.links, nil)
	}
	l.links[k.fd] = k
	if err := unix.SetNonblock(k.fd, true); err != nil {
		return err
	}
	return l.control(unix.EPOLL_CTL_ADD, k.fd, unix.EPOLLIN)
}

func (l *load) control(op, fd int, events uint32) error {
	return unix.EpollCtl(l.set, op, fd, &unix.EpollEvent{Events: events, Fd: int32(fd)}) //nolint:gosec // a descriptor
}

func (l *load) close() {
	for _, k := range slices.Concat(l.clients, l.stuck) {
		unix.Close(k.fd)
	}
	if l.publisher != nil {
		unix.Close(l.publisher.fd)
	}
	l.links, l.clients, l.stuck, l.publisher = nil, nil, nil, nil
}

// wait returns what is ready. It is an error that the server keeps us waiting.
func (l *load) wait() ([]unix.EpollEvent, error) {
	n, err := retry(func() (int, error) { return unix.EpollWait(l.set, l.events, int(stallTime.Milliseconds())) })
	if err == nil && n == 0 {
		err = fmt.Errorf("nothing came for %v", stallTime)
	}
	return l.events[:max(n, 0)], err
}

// retry calls f until no signal interrupts it: those of the runtime do, where a descriptor has a timeout.
func retry(f func() (int, error)) (int, error) {
	for {
		n, err := f()
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}

// send writes p, or keeps what the server does not take yet.
func (l *load) send(k *link, p []byte) error {
	if len(k.rest) > 0 {
		k.rest = append(k.rest, p...)
		return nil
	}
	n, err := unix.Write(k.fd, p)
	if err != nil && !errors.Is(err, unix.EAGAIN) {
		return fmt.Errorf("write: %w", err)
	}
	if n = max(n, 0); n == len(p) {
		return nil
	}
	k.rest = append(k.rest, p[n:]...)
	return l.control(unix.EPOLL_CTL_MOD, k.fd, unix.EPOLLIN|unix.EPOLLOUT)
}

// flush writes what send has kept.
func (l *load) flush(k *link) error {
	n, err := unix.Write(k.fd, k.rest)
	if err != nil && !errors.Is(err, unix.EAGAIN) {
		return fmt.Errorf("write: %w", err)
	}
	k.rest = append(k.rest[:0], k.rest[max(n, 0):]...)
	if len(k.rest) > 0 {
		return nil
	}
	return l.control(unix.EPOLL_CTL_MOD, k.fd, unix.EPOLLIN)
}

// receive reads once and returns how many messages are complete now.
func (l *load) receive(k *link) (int, error) {
	n, err := unix.Read(k.fd, l.buf)
	switch {
	case errors.Is(err, unix.EAGAIN):
		return 0, nil
	case err != nil:
		return 0, fmt.Errorf("read: %w", err)
	case n == 0:
		return 0, errors.New("the server closed a connection")
	}
	n += k.got
	k.got = n % k.unit
	k.received += n / k.unit
	return n / k.unit, nil
}

// echo keeps Depth messages in flight on each connection, for Time, and waits for the last echo.
func (l *load) echo(q request) (ops int64, err error) {
	one := frame(q.Proto, tagEcho, q.Size)
	out := slices.Repeat(one, q.Depth)
	begin := time.Now()
	deadline := begin.Add(q.Time)
	flying := 0
	launch := func(k *link, n int, now time.Time) error {
		k.flying, k.sent = k.flying+n, now
		flying += n
		return l.send(k, out[:n*len(one)])
	}
	for _, k := range l.clients {
		k.unit += framed(q.Proto, q.Size) - framed(q.Proto, k.size)
		k.size = q.Size
		if err := launch(k, q.Depth, begin); err != nil {
			return 0, err
		}
	}
	for flying > 0 {
		ready, err := l.wait()
		if err != nil {
			return ops, fmt.Errorf("%d echoes are missing: %w", flying, err)
		}
		now := time.Now()
		for _, e := range ready {
			k := l.links[e.Fd]
			if e.Events&unix.EPOLLOUT != 0 {
				if err := l.flush(k); err != nil {
					return ops, err
				}
			}
			n, err := l.receive(k)
			if err != nil {
				return ops, err
			}
			if n == 0 {
				continue
			}
			if q.Depth == 1 {
				l.latency = append(l.latency, now.Sub(k.sent))
			}
			ops, flying, k.flying = ops+int64(n), flying-n, k.flying-n
			if now.Before(deadline) {
				if err := launch(k, n, now); err != nil {
					return ops, err
				}
			}
		}
	}
	return ops, nil
}
