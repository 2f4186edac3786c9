package raw

import (
	"bytes"

	"github.com/portluck/portluck/handlers"
)

// heard records what a codec delivers.
type heard struct {
	msgs  []string
	reply string
	held  int // the most bytes that were kept for the next Decode
}

func (h *heard) Connect(*handlers.Info)     {}
func (h *heard) Message(m handlers.Message) { h.msgs = append(h.msgs, string(m.Data)) }

// feed calls a codec as the loop does. Bytes that Decode leaves come again, in other memory, in
// front of the next chunk. EOF is set in the last call.
func feed(c handlers.Codec, chunks ...[]byte) (*heard, error) {
	var rest []byte
	h := &heard{}
	m := &handlers.Messages{Events: h}
	for i := range len(chunks) + 1 {
		m.EOF = i == len(chunks)
		in := bytes.Clone(rest)
		if !m.EOF {
			in = append(in, chunks[i]...)
		}
		n, err := c.Decode(in, m)
		h.reply = string(m.Reply)
		if err != nil {
			return h, err
		}
		rest = bytes.Clone(in[n:])
		clear(in) // a codec must keep no reference
		h.held = max(h.held, len(rest))
	}
	return h, nil
}
