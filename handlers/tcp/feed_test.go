package tcp

import (
	"bytes"
	"math/rand/v2"

	"github.com/portluck/portluck/handlers"
)

// heard is what a codec makes of a stream.
type heard struct {
	msgs  []string
	reply string
	held  int // most bytes that were kept for the next Decode
}

func (h *heard) Connect(*handlers.Info)     {}
func (h *heard) Message(m handlers.Message) { h.msgs = append(h.msgs, string(m.Data)) }

// feed drives a codec as a loop does: what it leaves comes again, in a fresh piece of memory, with
// the next chunk behind it. The last call has EOF set.
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
		clear(in) // a codec keeps no reference
		h.held = max(h.held, len(rest))
	}
	return h, nil
}

// dripped cuts s into single bytes.
func dripped(s string) [][]byte { return chunked(s, 1) }

// chunked cuts s into pieces of size bytes.
func chunked(s string, size int) (chunks [][]byte) {
	for len(s) > size {
		chunks, s = append(chunks, []byte(s[:size])), s[size:]
	}
	return append(chunks, []byte(s))
}

// splits yields every way to cut s if it is short, and many if it is not.
func splits(s string, yield func(chunks [][]byte) bool) {
	cuts := len(s) - 1
	if cuts <= 14 {
		for mask := range 1 << max(cuts, 0) {
			if !yield(cutAt(s, func(i int) bool { return mask>>(i-1)&1 == 1 })) {
				return
			}
		}
		return
	}
	for at := 1; at < len(s); at++ {
		if !yield(cutAt(s, func(i int) bool { return i == at })) {
			return
		}
	}
	r := rand.New(rand.NewPCG(1, uint64(len(s))))
	for n := range 200 {
		if !yield(cutAt(s, func(int) bool { return r.IntN(1+n/4) == 0 })) {
			return
		}
	}
}

func cutAt(s string, cut func(i int) bool) (chunks [][]byte) {
	from := 0
	for i := 1; i < len(s); i++ {
		if cut(i) {
			chunks, from = append(chunks, []byte(s[from:i])), i
		}
	}
	return append(chunks, []byte(s[from:]))
}
