package websocket

import (
	"encoding/binary"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"unicode/utf8"

	"github.com/gobwas/ws"
	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/internal/parts"
)

// frames is the codec of an open connection (RFC 6455, section 5).
//
// The payload of an incomplete frame stays in the loop's buffer. Each byte of it is unmasked and,
// if it is text, checked, once, when it arrives.
type frames struct {
	handler  *Handler
	*partial             // of Decode only; nil between messages
	sent     atomic.Bool // our close frame was appended; used by Decode and the Append methods
	closed   bool        // the peer's close frame has arrived
	window   uint8       // window of compressed messages; 0 if compression is off
	keeps    uint8       // window that the client keeps between messages; 0 if it keeps none
}

// partial is the state of Decode while a frame or a message is incomplete.
type partial struct {
	part *fragments // the fragmented message that has begun, or nil
	seen int        // bytes of the current payload that were unmasked and checked
	skip uint64     // bytes of a payload to drop when they arrive
	text utf8State
	past *past // of messages before; nil if the client keeps no window

	before int // length of Reply when Decode was called
}

var partialPool = sync.Pool{New: func() any { return new(partial) }}

// maxReply bounds the bytes of pongs that one Decode appends. If there are more pings, only the
// newest are answered, as RFC 6455, section 5.5.3 allows.
const maxReply = 64 << 10

// header is the header of a frame.
type header struct {
	fin    bool
	packed bool // the frame begins a compressed message
	op     ws.OpCode
	mask   [4]byte
	size   int    // length of the header
	length uint64 // of the payload
}

// Decode implements [handlers.Codec.Decode].
func (f *frames) Decode(in []byte, m *handlers.Messages) (n int, err error) {
	if f.partial == nil {
		f.partial = partialPool.Get().(*partial)
	}
	f.before = len(m.Reply)
	n, err = f.decode(in, m)
	f.before = 0
	if *f.partial == (partial{}) {
		partialPool.Put(f.partial)
		f.partial = nil
	}
	return n, err
}

func (f *frames) decode(in []byte, m *handlers.Messages) (n int, err error) {
	for {
		if f.closed {
			return len(in), io.EOF
		}
		skipped := min(uint64(len(in)-n), f.skip)
		f.skip -= skipped
		n += int(skipped)
		h, err := f.parseHeader(in[n:])
		if err != nil {
			return n, err
		}
		if h.size == 0 {
			break
		}
		k, err := f.frame(&h, in[n:], m)
		n += k
		if err != nil {
			return n, err
		}
		if k == 0 {
			break
		}
	}
	if m.Partial = f.part != nil; m.Partial {
		m.Kept = cap(f.part.data)
	}
	m.Kept += f.past.size()
	if m.EOF {
		return n, f.end()
	}
	return n, nil
}

// end returns the error of a peer that has closed the connection without a close frame: io.EOF if
// we have sent ours, else ErrAbnormal. AppendClose appends nothing afterwards.
func (f *frames) end() error {
	f.dropPart()
	if f.sent.Swap(true) {
		return io.EOF
	}
	return ErrAbnormal
}

// parseHeader parses the header at the beginning of b. Its size is 0 while it is incomplete. A
// mistake is an error as soon as its byte has arrived.
func (f *frames) parseHeader(b []byte) (h header, err error) {
	if len(b) < 2 {
		return h, nil
	}
	h.fin, h.packed, h.op, h.length = b[0]&0x80 != 0, b[0]&rsv1 != 0, ws.OpCode(b[0]&15), uint64(b[1]&0x7f)
	switch {
	case b[0]&0x70&^rsv1 != 0, h.packed && (f.window == 0 || h.op != ws.OpText && h.op != ws.OpBinary):
		return h, protocolError("a reserved bit is set")
	case b[1]&0x80 == 0:
		return h, protocolError("a client's frames must be masked")
	case h.op.IsReserved():
		return h, protocolError("the opcode is reserved")
	case h.op.IsControl() && (!h.fin || h.length > 125):
		return h, protocolError("a control frame must be whole, and of 125 bytes at the most")
	case f.sent.Load(): // messages after our close frame are dropped
	case h.op == ws.OpContinuation && f.part == nil:
		return h, protocolError("there is nothing to continue")
	case h.op.IsData() && h.op != ws.OpContinuation && f.part != nil:
		return h, protocolError("the message before is not finished")
	}
	size, least := 2, uint64(0)
	switch h.length {
	case 126:
		if size = 4; len(b) >= size {
			h.length, least = uint64(binary.BigEndian.Uint16(b[2:])), 126
		}
	case 127:
		if size = 10; len(b) >= size {
			h.length, least = binary.BigEndian.Uint64(b[2:]), 1<<16
		}
	}
	switch {
	case len(b) < size:
		return h, nil
	case h.length < least:
		return h, protocolError("the length is not in its shortest form") // RFC 6455, section 5.2
	}
	if err := f.checkLength(&h); err != nil {
		return h, err
	}
	if len(b) >= size+4 {
		copy(h.mask[:], b[size:])
		h.size = size + 4
	}
	return h, nil
}

// checkLength refuses a message that is too long before its payload arrives.
func (f *frames) checkLength(h *header) error {
	if h.length>>63 != 0 {
		return protocolError("the length has its highest bit set")
	}
	if h.op.IsControl() || f.sent.Load() {
		return nil
	}
	have, limit := 0, f.handler.limit()
	if f.part != nil {
		have = len(f.part.data)
	}
	if f.isPacked(h) {
		limit += min(limit/8, 1<<20) + 64 // incompressible bytes become a little longer
	}
	switch {
	case h.length > uint64(max(0, limit-have)):
		return handlers.ErrTooLong
	case f.part != nil && !h.fin && h.length == 0 && f.part.empty >= maxEmpty:
		return fmt.Errorf("%w: too many fragments without a payload", handlers.ErrTooLong)
	}
	return nil
}

// frame decodes the frame at the beginning of b and returns its length, or 0 while it is
// incomplete.
func (f *frames) frame(h *header, b []byte, m *handlers.Messages) (n int, err error) {
	body := b[h.size:]
	whole := uint64(len(body)) >= h.length
	if whole {
		body = body[:h.length]
	}
	switch {
	case h.op.IsControl() && !whole:
		return 0, nil
	case h.op.IsControl():
		ws.Cipher(body, h.mask, 0)
		return h.size + len(body), f.control(h.op, body, m)
	case f.sent.Load(): // only the peer's close frame matters after ours
		f.skip = h.length - uint64(len(body))
		f.dropPart()
		return h.size + len(body), nil
	}
	ws.Cipher(body[f.seen:], h.mask, f.seen)
	if f.isText(h.op) && !f.isPacked(h) && !f.text.feed(body[f.seen:]) {
		return 0, handlers.ErrInvalidText
	}
	f.seen = len(body)
	if !whole {
		return 0, nil
	}
	f.seen = 0
	return h.size + len(body), f.data(h, body, m)
}

func (f *frames) isText(op ws.OpCode) bool {
	return op == ws.OpText || op == ws.OpContinuation && f.part.text
}

// isPacked reports whether the message of a data frame is compressed.
func (f *frames) isPacked(h *header) bool { return h.packed || f.part != nil && f.part.packed }

// data handles a data frame that is complete.
func (f *frames) data(h *header, body []byte, m *handlers.Messages) error {
	if h.fin && f.part == nil {
		return f.deliver(body, h.op == ws.OpText, h.packed, m)
	}
	if f.part == nil {
		f.part = fragmentPool.Get().(*fragments)
		f.part.text, f.part.packed, f.part.empty = h.op == ws.OpText, h.packed, 0
	}
	if f.part.empty++; len(body) > 0 {
		f.part.empty = 0
	}
	f.part.data = parts.Append(f.part.data, body)
	if !h.fin {
		return nil
	}
	defer f.dropPart()
	return f.deliver(f.part.data, f.part.text, f.part.packed, m)
}

// deliver delivers a whole message.
func (f *frames) deliver(msg []byte, text, packed bool, m *handlers.Messages) error {
	switch {
	case packed:
		i := inflaters.Get().(*inflater)
		defer i.put()
		if err := i.inflate(msg, f.past.bytes(), f.handler.limit(), m.Budget); err != nil {
			return err
		}
		if f.keeps > 0 {
			f.past = f.past.add(i.out, 1<<f.keeps)
		}
		if msg = i.out; text && !utf8.Valid(msg) {
			return handlers.ErrInvalidText
		}
	case text && !f.text.end():
		return handlers.ErrInvalidText
	}
	m.Deliver(handlers.Message{Data: msg, Kind: kindOf(text)})
	return nil
}

func kindOf(text bool) handlers.Kind {
	if text {
		return handlers.Text
	}
	return handlers.Binary
}

// control answers a control frame (RFC 6455, section 5.5).
func (f *frames) control(op ws.OpCode, body []byte, m *handlers.Messages) error {
	switch op {
	case ws.OpPing:
		if f.sent.Load() {
			return nil
		}
		if f.before = min(f.before, len(m.Reply)); len(m.Reply)-f.before > maxReply {
			m.Reply = m.Reply[:f.before] // drops older pongs
		}
		m.Reply = append(appendHeader(m.Reply, ws.OpPong, len(body)), body...)
	case ws.OpClose:
		return f.close(body, m)
	}
	return nil
}

// AppendWrite appends p as one frame that is not compressed.
func (f *frames) AppendWrite(dst, p []byte, k handlers.Kind) []byte {
	if f.sent.Load() {
		return dst
	}
	return framing{}.AppendMessage(dst, p, k)
}

// AppendMessage appends msg as one frame, compressed if that makes it shorter.
func (f *frames) AppendMessage(dst, msg []byte, k handlers.Kind) []byte {
	switch {
	case f.sent.Load():
		return dst
	case f.window > 0:
		return f.deflated().AppendMessage(dst, msg, k)
	}
	return framing{}.AppendMessage(dst, msg, k)
}

// AppendPing implements [handlers.Pinger.AppendPing] (RFC 6455, section 5.5.2).
func (f *frames) AppendPing(dst []byte) []byte {
	if f.sent.Load() {
		return dst
	}
	return appendHeader(dst, ws.OpPing, 0)
}

func (f *frames) deflated() deflated { return deflated{least: f.handler.CompressMin, window: f.window} }

// Framing implements [handlers.Framer.Framing].
func (f *frames) Framing(handlers.Codec) handlers.Framing {
	if f.window > 0 {
		return f.deflated()
	}
	return framing{}
}

// framing is the framing of connections without compression.
type framing struct{}

// AppendMessage implements [handlers.Framing.AppendMessage].
func (framing) AppendMessage(dst, msg []byte, k handlers.Kind) []byte {
	return append(appendHeader(dst, opOf(msg, k), len(msg)), msg...)
}

// appendHeader appends the header of an unfragmented, unmasked frame.
func appendHeader(dst []byte, op ws.OpCode, length int) []byte {
	dst = append(dst, 0x80|byte(op))
	switch {
	case length < 126:
		return append(dst, byte(length))
	case length < 1<<16:
		return binary.BigEndian.AppendUint16(append(dst, 126), uint16(length))
	}
	return binary.BigEndian.AppendUint64(append(dst, 127), uint64(length))
}

func protocolError(why string) error { return fmt.Errorf("%w: %s", handlers.ErrProtocol, why) }
