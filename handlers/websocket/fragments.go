package websocket

import (
	"sync"

	"github.com/portluck/portluck/handlers/internal/parts"
)

// fragments is a message that is not whole.
type fragments struct {
	text   bool
	packed bool   // data is compressed
	empty  int    // frames without a payload in a row
	data   []byte // of package parts
}

// maxEmpty is how many frames of a message may come in a row without a payload. Those that have one
// are bounded by the limit of the message.
const maxEmpty = 1 << 10

var fragmentPool = sync.Pool{New: func() any { return new(fragments) }}

// dropPart gives the buffer of fragments back.
func (f *frames) dropPart() {
	if f.part == nil {
		return
	}
	parts.Put(f.part.data)
	f.part.data = nil
	fragmentPool.Put(f.part)
	f.part = nil
}
