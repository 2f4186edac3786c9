package loop

import "sync"

const (
	firstRead = 4 << 10  // the read buffer of a new connection
	keepRead  = 32 << 10 // a larger one is given up once it is empty
)

var readBuffers = sync.Pool{New: func() any { return new([firstRead]byte) }}

// input is what was read and not yet decoded. Its zero value is empty.
type input struct {
	buf    []byte
	r, w   int
	pooled *[firstRead]byte
	reply  []byte // the buffer of Messages.Reply, used again
}

func (in *input) bytes() []byte { return in.buf[in.r:in.w] }

// space is where to read to: at least one byte.
func (in *input) space() []byte {
	if in.buf == nil {
		in.pooled = readBuffers.Get().(*[firstRead]byte)
		in.buf = in.pooled[:]
	}
	if in.w < len(in.buf) {
		return in.buf[in.w:]
	}
	if in.r > 0 && in.r >= len(in.buf)/2 {
		in.w = copy(in.buf, in.bytes())
		in.r = 0
		return in.buf[in.w:]
	}
	in.grow(2 * len(in.buf))
	return in.buf[in.w:]
}

// filled says that n bytes were read to space.
func (in *input) filled(n int) { in.w += n }

// took says that the codec has done with n bytes.
func (in *input) took(n int) {
	in.r += n
	if in.r < in.w {
		return
	}
	full := in.w == len(in.buf)
	in.r, in.w = 0, 0
	switch {
	case len(in.buf) > keepRead:
		in.release()
	case full && len(in.buf) == firstRead:
		in.grow(keepRead) // a busy client: fewer, larger reads
	}
}

// put appends p, which was read by somebody else.
func (in *input) put(p []byte) {
	for len(in.space()) < len(p) {
		in.grow(2 * len(in.buf))
	}
	in.w += copy(in.buf[in.w:], p)
}

func (in *input) grow(size int) {
	buf := make([]byte, size)
	n := copy(buf, in.bytes())
	in.release()
	in.buf, in.r, in.w = buf, 0, n
}

// release gives the buffer back. What was in it is lost.
func (in *input) release() {
	if in.pooled != nil {
		readBuffers.Put(in.pooled)
	}
	in.buf, in.pooled, in.r, in.w = nil, nil, 0, 0
}
