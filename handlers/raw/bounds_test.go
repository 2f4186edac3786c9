package raw

import (
	"testing"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/internal/boundtest"
)

// A bound of zero is the default, and a negative one is no bound.
func TestBounds(t *testing.T) {
	boundtest.Check(t, nil,
		boundtest.Field("Limit", DefaultLimit, boundtest.None, func(h *Handler) int64 { return longest(h.Codec(&handlers.Info{})) }),
	)
	boundtest.Check(t, nil,
		boundtest.Field("Limit", DefaultLimit, boundtest.None, func(l *Lines) int64 { return longest(l) }),
	)
	boundtest.Check(t, nil,
		boundtest.Field("Size", 4, 1, func(x *Prefixed) int64 { return int64(len(x.AppendMessage(nil, nil, handlers.Auto))) }),
		boundtest.Field("Limit", DefaultLimit, boundtest.None, func(x *Prefixed) int64 {
			for _, n := range []int64{5, DefaultLimit} {
				if _, _, err := x.length(x.appendFixed(nil, uint64(n+1))); err != nil {
					return n
				}
			}
			return boundtest.None
		}),
	)
}

// longest returns the length of the longest line that c accepts, or None if it accepts all.
func longest(c handlers.Codec) int64 {
	for _, n := range []int{5, DefaultLimit} {
		m := &handlers.Messages{Events: nobody{}}
		if _, err := c.Decode(append(make([]byte, n+1), '\n'), m); err != nil {
			return int64(n)
		}
	}
	return boundtest.None
}

// nobody drops messages.
type nobody struct{ handlers.Events }

func (nobody) Message(handlers.Message) {}
