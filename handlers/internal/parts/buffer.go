package parts

import "github.com/portluck/portluck/handlers"

const (
	firstRead = 4 << 10  // size of the buffer of a new connection
	keepRead  = 32 << 10 // that of a busy one; a larger buffer is freed once empty
)

// A Buffer holds what was read from a connection and is not decoded yet. The budget counts a buffer
// only while it holds an incomplete message: messages that arrive whole never ask it. The zero
// value is empty and has no budget.
type Buffer struct {
	Budget *handlers.Budget

	buf  []byte // as long as its capacity
	r, w int
	held int  // bytes taken from Budget
	over bool // Budget did not have all of held
}

// Bytes returns the bytes that are not decoded yet.
func (b *Buffer) Bytes() []byte { return b.buf[b.r:b.w] }

// Space returns the space to read into: at least one byte.
func (b *Buffer) Space() []byte {
	switch {
	case b.buf == nil:
		b.move(Get(firstRead))
	case b.w < len(b.buf):
	case b.r > 0 && b.r >= len(b.buf)/4:
		b.r, b.w = 0, copy(b.buf, b.Bytes())
	default:
		b.grow()
	}
	return b.buf[b.w:]
}

// grow makes room for more of a message. If the budget is used up it makes only a little room; Keep
// then fails, unless the message has become whole.
func (b *Buffer) grow() {
	to := Get(len(b.buf) + 1)
	if !b.Budget.Take(cap(to) - b.held) {
		Put(to)
		to = make([]byte, len(b.buf)+firstRead)
		b.Budget.Force(cap(to) - b.held)
		b.over = true
	}
	b.held = cap(to)
	b.move(to)
}

// move replaces the buffer.
func (b *Buffer) move(to []byte) {
	to = to[:cap(to)]
	n := copy(to, b.Bytes())
	if b.buf != nil {
		Put(b.buf)
	}
	b.buf, b.r, b.w = to, 0, n
}

// Filled notes that n bytes were read to Space.
func (b *Buffer) Filled(n int) { b.w += n }

// Took notes that the first n bytes are decoded. They stay unchanged until Keep or Space is called.
func (b *Buffer) Took(n int) { b.r += n }

// Put appends p, which was read elsewhere.
func (b *Buffer) Put(p []byte) {
	for len(p) > 0 {
		n := copy(b.Space(), p)
		b.Filled(n)
		p = p[n:]
	}
}

// Keep counts the beginning of an incomplete message that is left after decoding. The error is
// [handlers.ErrOverload].
func (b *Buffer) Keep() error {
	n := b.w - b.r
	if n == 0 {
		b.empty()
		return nil
	}
	size := len(b.buf)
	if b.over || size > keepRead && size/4 >= n { // its long message was delivered
		size = Size(n)
	}
	if !b.Budget.Take(size - b.held) {
		return b.Budget.Refuse()
	}
	b.held, b.over = size, false
	if size != len(b.buf) {
		b.move(Get(size))
	}
	return nil
}

// empty resets an empty buffer: it frees a large one, and grows that of a busy client.
func (b *Buffer) empty() {
	full := b.w == len(b.buf)
	b.r, b.w = 0, 0
	b.uncount()
	switch {
	case len(b.buf) > keepRead:
		b.drop()
	case full && len(b.buf) == firstRead:
		b.move(Get(keepRead)) // a busy client: fewer, larger reads
	}
}

// Release frees the buffer. Its contents are lost.
func (b *Buffer) Release() {
	b.r, b.w = 0, 0
	b.uncount()
	b.drop()
}

func (b *Buffer) uncount() {
	if b.held != 0 {
		b.Budget.Take(-b.held)
		b.held, b.over = 0, false
	}
}

func (b *Buffer) drop() {
	if b.buf != nil {
		Put(b.buf)
		b.buf = nil
	}
}
