package websocket

import (
	"sync"

	"github.com/portluck/portluck/handlers/internal/parts"
)

// fragments is a message that is not whole.
type fragments struct {
	text   bool
	packed bool // data is compressed
	count  int
	data   []byte // of package parts
}

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
