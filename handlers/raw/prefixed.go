package raw

import (
	"encoding/binary"
	"io"
	"math"

	"github.com/portluck/portluck/handlers"
)

// Prefixed is a codec that has the length of each message in front of it. It keeps nothing of its
// own: memory is taken for the bytes that have come, not for those that were announced.
//
// The zero value is ready, with four bytes in network order. The fields must not be changed in use.
type Prefixed struct {
	// Size is how many bytes the length has, from 1 to 8; 4 if zero, 1 if negative.
	Size int
	// LittleEndian has the least significant byte of the length first.
	LittleEndian bool
	// Varint has the length in as many bytes as it needs, seven bits in each, the least significant
	// first, as Protocol Buffers have it. Size and LittleEndian have no meaning then.
	Varint bool
	// Limit is how many bytes a message may have; [DefaultLimit] if zero, no limit if negative. A
	// longer one ends the client with [handlers.ErrTooLong] as soon as it is announced.
	Limit int
}

var (
	_ handlers.Codec  = (*Prefixed)(nil)
	_ handlers.Framer = (*Prefixed)(nil)
)

// Decode is [handlers.Codec.Decode]. A stream that ends within a message is [io.ErrUnexpectedEOF],
// and a varint of more than 64 bits is [handlers.ErrProtocol].
func (x *Prefixed) Decode(in []byte, m *handlers.Messages) (n int, err error) {
	for n < len(in) {
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

// length reads a prefix of size bytes, which is 0 if more is to come.
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
	limit := uint64(math.MaxInt / 2)
	if l := limitOf(x.Limit); l >= 0 {
		limit = uint64(l)
	}
	if length > limit {
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

// AppendWrite appends p as it is.
func (x *Prefixed) AppendWrite(dst, p []byte, _ handlers.Kind) []byte { return append(dst, p...) }

// AppendMessage appends the length and msg. A message that is longer than Size bytes can tell goes
// out in parts, each with its length.
func (x *Prefixed) AppendMessage(dst, msg []byte, _ handlers.Kind) []byte {
	if x.Varint {
		return append(binary.AppendUvarint(dst, uint64(len(msg))), msg...)
	}
	for most := x.most(); uint64(len(msg)) > most; msg = msg[most:] {
		dst = append(x.appendFixed(dst, most), msg[:most]...)
	}
	return append(x.appendFixed(dst, uint64(len(msg))), msg...)
}

// Framing is [handlers.Framer.Framing].
func (x *Prefixed) Framing(codec handlers.Codec) handlers.Framing {
	if codec != handlers.Codec(x) {
		return nil
	}
	return prefix{size: x.Size, littleEndian: x.LittleEndian, varint: x.Varint}
}

// prefix is the framing of messages with their length in front.
type prefix struct {
	size                 int
	littleEndian, varint bool
}

// AppendMessage is [handlers.Framing.AppendMessage].
func (p prefix) AppendMessage(dst, msg []byte, k handlers.Kind) []byte {
	x := Prefixed{Size: p.size, LittleEndian: p.littleEndian, Varint: p.varint}
	return x.AppendMessage(dst, msg, k)
}

// most is the greatest length that the prefix can tell.
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

// AppendClose appends nothing: words would be taken for a length. The end of the stream says it.
func (x *Prefixed) AppendClose(dst []byte, _ error) []byte { return dst }
