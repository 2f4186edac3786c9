package tcp

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/internal/boundtest"
	"github.com/portluck/portluck/handlers/loop"
)

// Zero is the default of a bound, and a negative one is none.
func TestBounds(t *testing.T) {
	boundtest.Check(t, nil,
		boundtest.Field("HandshakeTimeout", int64(10*time.Second), boundtest.None, func(v *Server) int64 {
			return left(v.stream(netip.AddrPort{}, nil).handshakeContext(nil))
		}),
		boundtest.Field("MaxConnections", boundtest.None, boundtest.None, func(v *Server) int64 {
			for n := range int64(100) {
				if !v.admit() {
					return n
				}
			}
			return boundtest.None
		}),
		boundtest.Field("MaxQueue", 16<<20, boundtest.None, func(v *Server) int64 { return int64(max(setUp(v).MaxQueue, boundtest.None)) }),
		boundtest.Field("CloseTimeout", int64(2*time.Minute), boundtest.None, func(v *Server) int64 { return int64(max(setUp(v).CloseTimeout, boundtest.None)) }),
	)
	boundtest.Check(t, nil,
		boundtest.Field("ConnectTimeout", int64(30*time.Second), boundtest.None, func(s *Stream) int64 { return left(s.bounded(context.Background())) }),
		boundtest.Field("HandshakeTimeout", int64(10*time.Second), boundtest.None, func(s *Stream) int64 { return left(s.handshakeContext(nil)) }),
	)
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

// left is how long ctx has, to the second; none if it has no deadline.
func left(ctx context.Context, cancel context.CancelFunc) int64 {
	defer cancel()
	at, ok := ctx.Deadline()
	if !ok {
		return boundtest.None
	}
	return int64(time.Until(at).Round(time.Second))
}

// setUp is the loop of v's own streams.
func setUp(v *Server) *loop.Loop {
	var l loop.Loop
	v.setup(&l)
	return &l
}

// longest is how long a line may be, of the lengths that are tried; none if any.
func longest(c handlers.Codec) int64 {
	for _, n := range []int{5, DefaultLimit} {
		m := &handlers.Messages{Events: nobody{}}
		if _, err := c.Decode(append(make([]byte, n+1), '\n'), m); err != nil {
			return int64(n)
		}
	}
	return boundtest.None
}

// nobody hears the events of a connection.
type nobody struct{ handlers.Events }

func (nobody) Message(handlers.Message) {}
