package websocket

import (
	"compress/flate"
	"fmt"
	"io"
	"slices"
	"sync"
	"unicode/utf8"

	"github.com/gobwas/ws"
	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/internal/parts"
)

// deflated is the framing of clients that have agreed to permessage-deflate (RFC 7692). A message
// is compressed by itself: the same bytes are for all of them.
type deflated struct {
	least  int // bytes of a message that is compressed
	window uint8
}

// AppendMessage is [handlers.Framing.AppendMessage].
func (d deflated) AppendMessage(dst, msg []byte, k handlers.Kind) []byte {
	if len(msg) < d.least {
		return framing{}.AppendMessage(dst, msg, k)
	}
	c := compressors.Get().(*compressor)
	defer c.put()
	if c.compress(msg, 1<<d.window); len(c.out) >= len(msg) {
		return framing{}.AppendMessage(dst, msg, k)
	}
	at := len(dst)
	dst = appendHeader(dst, opOf(msg, k), len(c.out))
	dst[at] |= rsv1
	return append(dst, c.out...)
}

// opOf is the opcode of a message: text if it is valid UTF-8 and not meant to be binary.
func opOf(msg []byte, k handlers.Kind) ws.OpCode {
	if k != handlers.Binary && utf8.Valid(msg) {
		return ws.OpText
	}
	return ws.OpBinary
}

// rsv1 marks the first frame of a compressed message (RFC 7692, section 6).
const rsv1 = 0x40

// syncMark is how a flush ends. It is not sent (RFC 7692, section 7.2.1).
const syncMark = "\x00\x00\xff\xff"

// compressor has 1.2 MB of tables: there are as many as messages are compressed at once.
type compressor struct {
	w   *flate.Writer
	out []byte
}

var compressors = sync.Pool{New: func() any {
	c := &compressor{}
	c.w, _ = flate.NewWriter(c, flate.BestSpeed) // it fails for other levels only
	return c
}}

func (c *compressor) put() {
	if cap(c.out) > keepOut {
		c.out = nil
	}
	compressors.Put(c)
}

// Write appends to out.
func (c *compressor) Write(p []byte) (int, error) {
	c.out = append(c.out, p...)
	return len(p), nil
}

// compress makes out of msg. No part of it refers to more than window bytes back.
func (c *compressor) compress(msg []byte, window int) {
	c.out = c.out[:0]
	if window >= 1<<maxWindow {
		window = len(msg) // a distance is never more
	}
	for len(msg) > 0 {
		piece := msg[:min(window, len(msg))]
		msg = msg[len(piece):]
		c.w.Reset(c)
		_, _ = c.w.Write(piece) // Write of c does not fail
		_ = c.w.Flush()
	}
	c.out = c.out[:max(0, len(c.out)-len(syncMark))]
}

// inflater is what a message is decompressed with. It has 40 KB and is used again.
type inflater struct {
	src    packed
	r      io.ReadCloser // and a flate.Resetter
	out    []byte
	budget *handlers.Budget
	held   int // of budget: what out has more than keepOut
}

// keepOut is the largest output that is used again. It is not counted, like the rest of what has
// it.
const keepOut = 64 << 10

var inflaters = sync.Pool{New: func() any {
	i := &inflater{}
	i.r = flate.NewReader(&i.src)
	return i
}}

func (i *inflater) put() {
	i.src = packed{}
	if cap(i.out) > keepOut {
		parts.Put(i.out)
		i.out = nil
	}
	i.budget.Take(-i.held)
	i.budget, i.held = nil, 0
	inflaters.Put(i)
}

// maxFinals is how many blocks of a message may be marked as the last one: the decompressor is made
// anew behind each.
const maxFinals = 16

// inflate decompresses a message, which may refer to what came before it, into out, which may have
// limit bytes.
func (i *inflater) inflate(msg, past []byte, limit int, budget *handlers.Budget) error {
	i.src, i.out, i.budget = packed{msg: msg}, i.out[:0], budget
	for finals := 0; finals == 0 || i.src.at < len(msg); finals++ {
		if finals > maxFinals {
			return protocolError("too many final blocks in a compressed message")
		}
		dict := i.out[max(0, len(i.out)-1<<maxWindow):]
		if more := min(1<<maxWindow-len(dict), len(past)); more > 0 {
			dict = append(slices.Clip(past[len(past)-more:]), dict...)
		}
		if err := i.r.(flate.Resetter).Reset(&i.src, dict); err != nil {
			return fmt.Errorf("inflate: %w", err)
		}
		if err := i.read(limit); err != nil {
			return err
		}
	}
	return nil
}

// read appends what the decompressor gives until the end of a final block.
func (i *inflater) read(limit int) error {
	for {
		if err := i.grow(); err != nil {
			return err
		}
		n, err := i.r.Read(i.out[len(i.out):cap(i.out)])
		i.out = i.out[:len(i.out)+n]
		switch {
		case len(i.out) > limit:
			return handlers.ErrTooLong
		case err == io.EOF:
			return nil
		case err != nil:
			return protocolError("a compressed message is damaged")
		}
	}
}

// grow makes room in out when it is full.
func (i *inflater) grow() error {
	if len(i.out) < cap(i.out) {
		return nil
	}
	size := parts.Size(len(i.out) + 1)
	if more := max(0, size-keepOut) - i.held; more > 0 {
		if !i.budget.Take(more) {
			return i.budget.Refuse()
		}
		i.held += more
	}
	old := i.out
	i.out = append(parts.Get(size), old...)
	parts.Put(old)
	return nil
}

// packed is a compressed message as the decompressor reads it: with what was not sent of it, and a
// final block.
type packed struct {
	msg []byte
	at  int
}

// tail is what a compressed message ends with: the mark that was left out, and an empty final
// block.
const tail = syncMark + "\x01\x00\x00\xff\xff"

// ReadByte keeps the decompressor from reading ahead.
func (p *packed) ReadByte() (byte, error) {
	at := p.at
	p.at++
	switch {
	case at < len(p.msg):
		return p.msg[at], nil
	case at < len(p.msg)+len(tail):
		return tail[at-len(p.msg)], nil
	}
	p.at = at
	return 0, io.EOF
}

// Read is for stored blocks; b is not empty.
func (p *packed) Read(b []byte) (n int, err error) {
	if p.at < len(p.msg) {
		n = copy(b, p.msg[p.at:])
	} else if n = copy(b, tail[min(p.at-len(p.msg), len(tail)):]); n == 0 {
		return 0, io.EOF
	}
	p.at += n
	return n, nil
}

// past is the end of what a client has sent in compressed messages.
type past struct{ buf []byte }

func (p *past) bytes() []byte {
	if p == nil {
		return nil
	}
	return p.buf
}

func (p *past) size() int {
	if p == nil {
		return 0
	}
	return cap(p.buf)
}

// add appends msg and keeps the last size bytes.
func (p *past) add(msg []byte, size int) *past {
	if p == nil {
		p = &past{make([]byte, 0, size)}
	}
	msg = msg[max(0, len(msg)-size):]
	if over := len(p.buf) + len(msg) - size; over > 0 {
		p.buf = p.buf[:copy(p.buf, p.buf[over:])]
	}
	p.buf = append(p.buf, msg...)
	return p
}
