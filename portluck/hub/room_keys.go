package hub

import (
	"slices"
	"sort"
	"strings"

	"github.com/portluck/portluck/handlers"
)

// fewReplaced is how many replaced messages a ring may keep, however few others it has.
const fewReplaced = 16

// keyed returns d, or a new detail, with the key of m.
func (r *Room) keyed(m handlers.Message, d *detail) *detail {
	if d == nil {
		d = &detail{}
	}
	r.hub.panicked(handlers.Guard(func() { d.key = strings.Clone(r.opts.KeyOf(m)) }))
	return d
}

// isReplaced reports whether there is a newer message of the same key.
func (d *detail) isReplaced() bool { return d != nil && d.replaced.Load() }

// replaces reports whether all who get old get the message of d.
func (d *detail) replaces(old *detail) bool {
	return d.to == nil && (d.except == 0 || d.except == old.except && old.to == nil)
}

// replace makes d the newest message of its key.
func (g *ring) replace(d *detail) {
	if old := g.keys[d.key]; old != nil && d.replaces(old) {
		old.replaced.Store(true)
		g.replaced++
		g.bytes -= len(g.messages[g.index(old.seq)].data)
	}
	if g.keys == nil {
		g.keys = map[string]*detail{}
	}
	g.keys[d.key] = d
}

// compact forgets the messages that are replaced. Deliveries may still read the old arrays.
func (g *ring) compact() {
	isReplaced := func(m published) bool { return m.detail.isReplaced() }
	for _, l := range g.logs {
		l.compact(g.messages)
	}
	g.messages = slices.DeleteFunc(slices.Clone(g.messages), isReplaced)
	g.aimed = slices.DeleteFunc(slices.Clone(g.aimed), (*detail).isReplaced)
	g.details -= g.replaced
	g.replaced = 0
}

// compact forgets those of messages that are replaced.
func (l *framedLog) compact(messages []published) {
	if l.framing == nil {
		return
	}
	var s segment
	for i, m := range messages {
		if !m.detail.isReplaced() {
			s.buf = append(s.buf, l.buf[l.begin(i):l.ends[i]]...)
			s.ends = append(s.ends, len(s.buf))
		}
	}
	l.segment = s
}

// indexOf returns the index of message seq, or of the first after it, in messages, which are those
// from first on and below next that have not been forgotten as replaced.
func indexOf(messages []published, first, next, seq uint64) int {
	if uint64(len(messages)) == next-first {
		return int(seq - first)
	}
	return sort.Search(len(messages), func(i int) bool { return messages[i].detail.seq >= seq })
}

// seqOf returns the number of message i of these; next if there is none.
func seqOf(messages []published, first, next uint64, i int) uint64 {
	switch {
	case i == len(messages):
		return next
	case uint64(len(messages)) == next-first:
		return first + uint64(i)
	}
	return messages[i].detail.seq
}

func (g *ring) index(seq uint64) int { return indexOf(g.messages, g.first, g.next, seq) }

func (g *ring) seq(i int) uint64 { return seqOf(g.messages, g.first, g.next, i) }

func (b *batch) index(seq uint64) int { return indexOf(b.messages, b.first, b.next, seq) }

func (b *batch) seq(i int) uint64 { return seqOf(b.messages, b.first, b.next, i) }

// after returns the least number that is above all messages before message i that are not replaced:
// who has got these misses nothing before i.
func (g *ring) after(i int) uint64 {
	for i > 0 && g.messages[i-1].detail.isReplaced() {
		i--
	}
	if i == 0 {
		return g.first
	}
	return g.seq(i-1) + 1
}

// tail returns the number after which the last count messages come that are not replaced.
func (g *ring) tail(count uint64) uint64 {
	if valid := uint64(len(g.messages) - g.replaced); valid <= count {
		return g.first
	}
	i := len(g.messages)
	for ; count > 0 && g.replaced > 0; i-- {
		if !g.messages[i-1].detail.isReplaced() {
			count--
		}
	}
	return g.after(i - int(count))
}
