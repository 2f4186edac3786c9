package raw

import (
	"encoding/binary"
	"io"
	"math"

	"github.com/portluck/portluck/handlers"
)

// Prefixed is a codec for messages that have their length in front. A length alone takes no memory:
// only bytes that have arrived do.
//
// The zero value is ready: its lengths have four bytes in network order. Prefixed keeps no state,
// so one may serve any number of connections. The fields must not be changed in use.
type Prefixed struct {
	// Size is the number of bytes of a length, from 1 to 8; 4 if zero, 1 if negative.
	Size int
	// LittleEndian puts the least significant byte of the length first.
	LittleEndian bool
	// Varint encodes the length as Protocol Buffers do: in as many bytes as it needs, seven bits in
	// each, the least significant ones first. Size and LittleEndian then have no effect.
	Varint bool
	// Limit is the length of the longest message in bytes; [DefaultLimit] if zero, no limit if
	// negative. A longer message ends the client with [handlers.ErrTooLong] as soon as its length
	// has arrived.
	Limit int
}

var (
	_ handlers.Codec  = (*Prefixed)(nil)
	_ handlers.Framer = (*Prefixed)(nil)
)

// Decode implements [handlers.Codec.Decode]. It returns [io.ErrUnexpectedEOF] if the stream ends
// within a message, and [handlers.ErrProtocol] for a varint of more than 64 bits.
func (x *Prefixed) Decode(in []byte, m *handlers.Messages) (n int, err error) {
	for {
		size, length, err := x.length(in[n:])
		if err != nil {
			return n, err
		}
		if size == 0 || uint64(len(in)-n-size) < length {
			break
		}
		end := n + size + int(length)
		m.Deliver(handlers.Message{Data: in[n+size : end]})
		n = end
	}
	if m.EOF && n < len(in) {
		return n, io.ErrUnexpectedEOF
	}
	return n, nil
}

// length parses the length at the start of b and returns its size in b, or 0 while it is
// incomplete.
func (x *Prefixed) length(b []byte) (size int, length uint64, err error) {
	if x.Varint {
		length, size = binary.Uvarint(b)
		if size < 0 || size == 0 && len(b) >= binary.MaxVarintLen64 {
			return 0, 0, handlers.ErrProtocol
		}
	} else if size = x.size(); len(b) < size {
		size = 0
	} else {
		length = x.fixed(b[:size])
	}
	if length > uint64(limitOf(x.Limit)) {
		return 0, 0, handlers.ErrTooLong
	}
	return size, length, nil
}

func (x *Prefixed) fixed(b []byte) (v uint64) {
	for i := range b {
		if x.LittleEndian {
			v |= uint64(b[i]) << (8 * i)
		} else {
			v = v<<8 | uint64(b[i])
		}
	}
	return v
}

func (x *Prefixed) size() int {
	if x.Size == 0 {
		return 4
	}
	return min(max(x.Size, 1), 8)
}

// AppendWrite appends p unchanged.
func (x *Prefixed) AppendWrite(dst, p []byte, _ handlers.Kind) []byte { return append(dst, p...) }

// AppendMessage appends the length of msg and msg. If the length does not fit in Size bytes, it
// splits msg into several messages.
func (x *Prefixed) AppendMessage(dst, msg []byte, _ handlers.Kind) []byte {
	if x.Varint {
		return append(binary.AppendUvarint(dst, uint64(len(msg))), msg...)
	}
	for most := x.most(); uint64(len(msg)) > most; msg = msg[most:] {
		dst = append(x.appendFixed(dst, most), msg[:most]...)
	}
	return append(x.appendFixed(dst, uint64(len(msg))), msg...)
}

// Framing implements [handlers.Framer.Framing].
func (x *Prefixed) Framing(codec handlers.Codec) handlers.Framing {
	if codec != handlers.Codec(x) {
		return nil
	}
	return prefix{size: x.Size, littleEndian: x.LittleEndian, varint: x.Varint}
}

// prefix is the framing of messages that have their length in front.
type prefix struct {
	size                 int
	littleEndian, varint bool
}

// AppendMessage implements [handlers.Framing.AppendMessage].
func (p prefix) AppendMessage(dst, msg []byte, k handlers.Kind) []byte {
	x := Prefixed{Size: p.size, LittleEndian: p.littleEndian, Varint: p.varint}
	return x.AppendMessage(dst, msg, k)
}

// most returns the greatest length that fits in Size bytes.
func (x *Prefixed) most() uint64 { return math.MaxUint64 >> (64 - 8*x.size()) }

func (x *Prefixed) appendFixed(dst []byte, v uint64) []byte {
	size := x.size()
	for i := range size {
		shift := 8 * i
		if !x.LittleEndian {
			shift = 8 * (size - 1 - i)
		}
		dst = append(dst, byte(v>>shift))
	}
	return dst
}

// AppendClose appends nothing: the peer would take words for a length.
func (x *Prefixed) AppendClose(dst []byte, _ error) []byte { return dst }
