package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// A client sends messages and receives their echoes. One goroutine at a time receives.
type client struct {
	*link
	in   []byte // received, not decoded; its capacity is what a read may bring
	msg  []byte // the last message sent
	out  []byte // framed
	sent uint32
}

func newClient(l *link) *client {
	return &client{link: l, in: append(make([]byte, 0, 1<<10), l.early...)}
}

// seqDigits is the number of digits that number a message; dots fill the rest. A shorter message
// has no number.
const seqDigits = 8

// message returns message seq, of size bytes. It reuses buf if that has the size.
func message(buf []byte, size int, seq uint32) []byte {
	if len(buf) != size {
		buf = bytes.Repeat([]byte{'.'}, size)
	}
	if size < seqDigits {
		return buf
	}
	hex.Encode(buf, []byte{byte(seq >> 24), byte(seq >> 16), byte(seq >> 8), byte(seq)}) //nolint:gosec // its bytes
	return buf
}

// isEcho reports whether got is the echo of message seq. A page that was asked for is any answer.
func (p *plan) isEcho(got []byte, seq uint32) bool { return p.Get || isEcho(got, p.Size, seq) }

// isEcho reports whether got contains the message of this size and number: servers may add to it.
func isEcho(got []byte, size int, seq uint32) bool {
	if len(got) < size || size < seqDigits {
		return len(got) >= size
	}
	var digits [seqDigits]byte
	hex.Encode(digits[:], []byte{byte(seq >> 24), byte(seq >> 16), byte(seq >> 8), byte(seq)}) //nolint:gosec // its bytes
	return bytes.HasPrefix(got, digits[:]) || bytes.Contains(got, digits[:])
}

// send sends n messages of size bytes in one write.
func (c *client) send(n, size int) error {
	c.out = c.out[:0]
	for range n {
		c.msg = message(c.msg, size, c.sent)
		c.sent++
		c.out = c.codec.encode(c.out, c.msg)
	}
	_, err := c.Write(c.out)
	return err
}

// receive waits for bytes from the server and hands the messages in them to got. The error is
// io.EOF at the end.
func (c *client) receive(got func(msg []byte)) error {
	if len(c.in) == cap(c.in) {
		c.in = append(make([]byte, 0, 2*cap(c.in)), c.in...)
	}
	n, err := c.Read(c.in[len(c.in):cap(c.in)])
	c.in = c.in[:len(c.in)+n]
	done, bad := c.codec.decode(c.in, err != nil, got)
	c.in = c.in[:copy(c.in, c.in[done:])]
	if bad != nil {
		return bad
	}
	if reply := c.codec.reply(); len(reply) > 0 {
		if _, err := c.Write(reply); err != nil {
			return err
		}
	}
	return err
}

// roundTrip sends one message and waits for its echo, which must be message seq.
func (c *client) roundTrip(ctx context.Context, p *plan, seq uint32) error {
	_ = c.SetDeadline(time.Now().Add(p.Timeout)) // fails when it is closed; then Write says so
	stop := context.AfterFunc(ctx, func() { _ = c.base.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	c.sent = seq
	if err := c.send(1, p.Size); err != nil {
		return err
	}
	came, right := 0, false
	for came == 0 {
		err := c.receive(func(msg []byte) {
			came++
			right = p.isEcho(msg, seq)
		})
		switch {
		case came > 0:
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(err, io.EOF):
			return errors.New("the server closed without an echo")
		case errors.Is(err, os.ErrDeadlineExceeded):
			return fmt.Errorf("no echo within %v (--timeout)", p.Timeout)
		case err != nil:
			return err
		}
	}
	if came > 1 || !right {
		return errors.New("what came back is not what was sent")
	}
	return nil
}
