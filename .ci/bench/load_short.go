package main

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// A slot makes one short connection after the other.
type slot struct {
	fd       int
	upgraded bool
	in       []byte
}

// shorts is what all slots share.
type shorts struct {
	*load
	q     request
	slots map[int]*slot // by descriptor
	next  int
	frame []byte
}

// short makes connections for Time: each sends one message, gets its echo and closes.
func (l *load) short(q request) (ops int64, err error) {
	s := &shorts{load: l, q: q, slots: map[int]*slot{}, frame: frame(q.Proto, tagEcho, q.Size)}
	deadline := time.Now().Add(q.Time)
	defer func() {
		for fd := range s.slots {
			unix.Close(fd)
		}
	}()
	for range q.Conns {
		if err := s.connect(&slot{}); err != nil {
			return 0, err
		}
	}
	for len(s.slots) > 0 {
		ready, err := l.wait()
		if err != nil {
			return ops, fmt.Errorf("%d connections have no echo: %w", len(s.slots), err)
		}
		more := time.Now().Before(deadline)
		for _, e := range ready {
			k := s.slots[int(e.Fd)]
			done, err := s.receive(k)
			if err != nil {
				return ops, err
			}
			if !done {
				continue
			}
			ops++
			delete(s.slots, k.fd)
			unix.Close(k.fd)
			if !more {
				continue
			}
			if err := s.connect(k); err != nil {
				return ops, err
			}
		}
	}
	return ops, nil
}

// connect begins a connection.
func (s *shorts) connect(k *slot) (err error) {
	s.next++
	if k.fd, err = connect(s.q.Addr, s.next, 0); err != nil {
		return err
	}
	k.upgraded, k.in = !isWebSocket(s.q.Proto), k.in[:0]
	s.slots[k.fd] = k
	first := s.frame
	if !k.upgraded {
		first = []byte(handshake)
	}
	if _, err := unix.Write(k.fd, first); err != nil {
		return err
	}
	return s.control(unix.EPOLL_CTL_ADD, k.fd, unix.EPOLLIN)
}

// receive reads once, and says whether the echo is complete.
func (s *shorts) receive(k *slot) (bool, error) {
	n, err := retry(func() (int, error) { return unix.Read(k.fd, s.buf) })
	if err == nil && n == 0 {
		err = errors.New("the server closed without an echo")
	}
	if err != nil {
		return false, err
	}
	k.in = append(k.in, s.buf[:n]...)
	switch {
	case k.upgraded:
		_, length := reply(s.q.Proto, k.in)
		return length > 0, nil
	case bytes.HasSuffix(k.in, []byte(endOfHeader)):
		k.upgraded, k.in = true, k.in[:0]
		_, err = unix.Write(k.fd, s.frame)
	}
	return false, err
}
