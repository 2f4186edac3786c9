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

// deflated is the framing of clients that have agreed to permessage-deflate (RFC 7692). Each
// message is compressed without context, so that all clients with the same deflated get the same
// bytes.
type deflated struct {
	least  int   // length of the shortest message that is compressed
	window uint8 // as a power of two
}

// AppendMessage implements [handlers.Framing.AppendMessage].
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

// opOf returns the opcode of a message: text if it is valid UTF-8 and not of kind Binary.
func opOf(msg []byte, k handlers.Kind) ws.OpCode {
	if k != handlers.Binary && utf8.Valid(msg) {
		return ws.OpText
	}
	return ws.OpBinary
}

// rsv1 marks the first frame of a compressed message (RFC 7692, section 6).
const rsv1 = 0x40

// syncMark is the end of the output of a flush. It is not sent (RFC 7692, section 7.2.1).
const syncMark = "\x00\x00\xff\xff"

// compressor compresses one message at a time. Its tables take 1.2 MB, so they are pooled.
type compressor struct {
	w   *flate.Writer
	out []byte
}

var compressors = sync.Pool{New: func() any {
	c := &compressor{}
	c.w, _ = flate.NewWriter(c, flate.BestSpeed) // fails for invalid levels only
	return c
}}

func (c *compressor) put() {
	if cap(c.out) > keepOut {
		c.out = nil
	}
	compressors.Put(c)
}

// Write appends p to out.
func (c *compressor) Write(p []byte) (int, error) {
	c.out = append(c.out, p...)
	return len(p), nil
}

// compress compresses msg into c.out. No reference goes back more than window bytes.
func (c *compressor) compress(msg []byte, window int) {
	c.out = c.out[:0]
	if window >= 1<<maxWindow {
		window = len(msg) // package flate never goes back further
	}
	for len(msg) > 0 {
		piece := msg[:min(window, len(msg))]
		msg = msg[len(piece):]
		c.w.Reset(c)
		_, _ = c.w.Write(piece) // c.Write does not fail
		_ = c.w.Flush()
	}
	c.out = c.out[:max(0, len(c.out)-len(syncMark))]
}

// inflater decompresses one message at a time. It takes 40 KB, so it is pooled.
type inflater struct {
	src    packed
	r      io.ReadCloser // and a flate.Resetter
	out    []byte
	budget *handlers.Budget
	held   int // bytes taken from budget: those of out above keepOut
}

// keepOut is the capacity of the largest output buffer that returns to the pool with its owner. The
// budget does not count those bytes, nor the rest of a compressor or inflater.
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

// maxFinals bounds how many blocks of a message may be marked as the last one, because the
// decompressor is reset after each.
const maxFinals = 16

// inflate decompresses msg into i.out, which may get limit bytes long. msg may refer to past, the
// end of earlier messages.
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

// read appends the output of the decompressor to i.out, until the end of a final block.
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

// grow makes room in i.out if it is full.
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

// packed lets the decompressor read a compressed message, followed by tail.
type packed struct {
	msg []byte
	at  int
}

// tail completes a compressed message: the mark that was not sent, and an empty final block.
const tail = syncMark + "\x01\x00\x00\xff\xff"

// ReadByte makes packed an [io.ByteReader], which the decompressor does not read ahead of.
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

// Read is called for stored blocks. b is not empty.
func (p *packed) Read(b []byte) (n int, err error) {
	if p.at < len(p.msg) {
		n = copy(b, p.msg[p.at:])
	} else if n = copy(b, tail[min(p.at-len(p.msg), len(tail)):]); n == 0 {
		return 0, io.EOF
	}
	p.at += n
	return n, nil
}

// past has the last bytes of a client's compressed messages, decompressed. A nil past is empty.
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

// add appends msg and drops all but the last size bytes. It returns p, or a new past if p is nil.
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
