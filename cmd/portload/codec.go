package main

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/gobwas/ws"
)

// A codec frames the messages of one connection. One goroutine may encode while another decodes.
type codec interface {
	// encode appends msg to dst as a client sends it.
	encode(dst, msg []byte) []byte
	// decode calls got with each complete message in in, and returns how many bytes they took. A
	// message is valid during the call. atEnd reports that the server will send no more.
	decode(in []byte, atEnd bool, got func(msg []byte)) (int, error)
	// reply returns the bytes that the protocol must send back, such as a pong, and drops them.
	reply() []byte
}

// lineCodec is raw TCP: a message is a line.
type lineCodec struct{}

func (lineCodec) encode(dst, msg []byte) []byte { return append(append(dst, msg...), '\n') }
func (lineCodec) reply() []byte                 { return nil }

func (lineCodec) decode(in []byte, atEnd bool, got func(msg []byte)) (n int, err error) {
	for {
		i := bytes.IndexByte(in[n:], '\n')
		if i < 0 {
			break
		}
		got(in[n : n+i])
		n += i + 1
	}
	if atEnd && n < len(in) {
		got(in[n:])
		n = len(in)
	}
	return n, nil
}

// wsCodec is a WebSocket client.
type wsCodec struct {
	mask    [4]byte
	whole   []byte   // the fragments so far
	answers appender // not sent yet
	out     appender // during encode
	in      bytes.Reader
	buf     [ws.MaxHeaderSize]byte
}

// newWSCodec chooses one mask for the whole connection: random numbers for each frame would be the
// client's main work.
func newWSCodec() *wsCodec {
	c := &wsCodec{}
	_, _ = rand.Read(c.mask[:]) // never fails
	return c
}

func (c *wsCodec) encode(dst, msg []byte) []byte {
	c.out = dst
	c.frame(&c.out, ws.OpText, msg)
	return c.out
}

// An appender is an io.Writer to memory.
type appender []byte

func (a *appender) Write(p []byte) (int, error) {
	*a = append(*a, p...)
	return len(p), nil
}

// frame appends a masked frame to a.
func (c *wsCodec) frame(a *appender, op ws.OpCode, payload []byte) {
	// It writes to memory, which does not fail.
	_ = ws.WriteHeader(a, ws.Header{Fin: true, OpCode: op, Masked: true, Mask: c.mask, Length: int64(len(payload))})
	*a = append(*a, payload...)
	ws.Cipher((*a)[len(*a)-len(payload):], c.mask, 0)
}

func (c *wsCodec) reply() []byte {
	b := c.answers
	c.answers = nil
	return b
}

// errGoodbye reports a close frame from the server.
var errGoodbye = errors.New("the server said goodbye")

func (c *wsCodec) decode(in []byte, _ bool, got func(msg []byte)) (n int, err error) {
	for {
		c.in.Reset(in[n:])
		h, err := ws.ReadHeaderBuffer(&c.in, c.buf[:])
		switch {
		case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
			return n, nil
		case err != nil:
			return n, err
		case int64(c.in.Len()) < h.Length:
			return n, nil
		}
		end := len(in) - c.in.Len() + int(h.Length)
		if err := c.take(h, in[end-int(h.Length):end], got); err != nil {
			return n, err
		}
		n = end
	}
}

// take handles one frame.
func (c *wsCodec) take(h ws.Header, payload []byte, got func(msg []byte)) error {
	switch {
	case h.Masked || h.Rsv != 0:
		return fmt.Errorf("the server sent a masked or compressed frame: %+v", h)
	case h.OpCode == ws.OpPing:
		c.frame(&c.answers, ws.OpPong, payload)
	case h.OpCode == ws.OpPong:
	case h.OpCode == ws.OpClose:
		code, reason := ws.ParseCloseFrameData(payload)
		return fmt.Errorf("%w: %d %s", errGoodbye, code, strings.ToValidUTF8(reason, "?"))
	case h.Fin && h.OpCode != ws.OpContinuation:
		got(payload)
	default:
		c.whole = append(c.whole, payload...)
		if h.Fin {
			got(c.whole)
			c.whole = nil
		}
	}
	return nil
}
