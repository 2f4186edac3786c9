package websocket

import (
	"sync"

	"github.com/portluck/portluck/handlers/internal/parts"
)

// fragments is the part of a fragmented message that has arrived.
type fragments struct {
	text   bool
	packed bool   // data is compressed
	empty  int    // how many of the last frames, in a row, had no payload
	data   []byte // from package parts
}

// maxEmpty bounds how many frames of a message may come in a row without a payload. The limit of
// the message bounds the others.
const maxEmpty = 1 << 10

var fragmentPool = sync.Pool{New: func() any { return new(fragments) }}

// dropPart drops the fragmented message, if there is one, and returns its buffer.
func (f *frames) dropPart() {
	if f.part == nil {
		return
	}
	parts.Put(f.part.data)
	f.part.data = nil
	fragmentPool.Put(f.part)
	f.part = nil
}
