package websocket

import "sync"

// fragments is a message that is not whole.
type fragments struct {
	text   bool
	packed bool // data is compressed
	count  int
	data   []byte
}

var fragmentPool = sync.Pool{New: func() any { return new(fragments) }}

// keepFragments is the largest buffer that goes back to the pool.
const keepFragments = 64 << 10

// dropPart gives the buffer of fragments back.
func (f *frames) dropPart() {
	if f.part == nil {
		return
	}
	if cap(f.part.data) <= keepFragments {
		f.part.data = f.part.data[:0]
		fragmentPool.Put(f.part)
	}
	f.part = nil
}
