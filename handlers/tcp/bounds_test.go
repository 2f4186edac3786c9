package tcp

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/portluck/portluck/handlers/internal/boundtest"
	"github.com/portluck/portluck/handlers/loop"
)

// A bound of zero is the default, and a negative one is no bound.
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
}

// left returns the time until the deadline of ctx, to the second, or None without a deadline.
func left(ctx context.Context, cancel context.CancelFunc) int64 {
	defer cancel()
	at, ok := ctx.Deadline()
	if !ok {
		return boundtest.None
	}
	return int64(time.Until(at).Round(time.Second))
}

// setUp returns a loop with v's settings.
func setUp(v *Server) *loop.Loop {
	var l loop.Loop
	v.setup(&l)
	return &l
}
