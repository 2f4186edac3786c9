package callosum

import (
	"context"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/portluck/portluck/handlers/internal/boundtest"
)

// Zero is the default of a bound, and a negative value means no bound.
func TestBounds(t *testing.T) {
	const none = boundtest.None
	boundtest.Check(t, nil,
		boundtest.Field("MaxSlots", none, none, func(h *Handler) int64 { h.init(); return slotsGiven(&h.slots) }),
		boundtest.Field("SlotTimeout", int64(10*time.Second), none, func(h *Handler) int64 { return int64(h.slotTimeout()) }),
		boundtest.Field("Hold", int64(100*time.Millisecond), none, func(h *Handler) int64 { return int64(max(h.hold(), none)) }),
		boundtest.Field("EndTimeout", int64(30*time.Second), none, func(h *Handler) int64 { return int64(h.endTimeout()) }),
		boundtest.Field("LingerTimeout", int64(2*time.Second), none, func(h *Handler) int64 { return int64(h.lingerTimeout()) }),
		boundtest.Field("UnreadTimeout", int64(2*time.Minute), none, func(h *Handler) int64 { return int64(h.unreadTimeout()) }),
	)
	boundtest.Check(t, nil, boundtest.Field("Max", none, none, slotsGiven))
	boundtest.Check(t, nil, boundtest.Field("MaxConns", none, none, func(s *Server) int64 {
		s.conns = map[net.Conn]struct{}{}
		for n := range int64(100) {
			if s.fullLocked() {
				return n
			}
			s.conns[new(net.TCPConn)] = struct{}{}
		}
		return none
	}))
	boundtest.Check(t, nil, boundtest.Field("Timeout", int64(10*time.Second), none, func(d *Dialer) int64 { return int64(d.timeout()) }))
	boundtest.Check(t, nil,
		boundtest.Field("Size", 100, 100, func(p *Pool) int64 { return int64(p.size()) }),
		boundtest.Field("ProbeInterval", int64(time.Second), none, func(p *Pool) int64 { return probed(t, p) }),
		boundtest.Field("Wait", int64(10*time.Second), none, func(p *Pool) int64 { return int64(p.wait()) }),
		boundtest.Field("MaxDials", 4, none, func(p *Pool) int64 { return int64(p.maxDials()) }),
		boundtest.Field("UnreadTimeout", int64(2*time.Minute), none, func(p *Pool) int64 { return int64(p.unreadTimeout()) }),
	)
}

// slotsGiven returns how many slots s gives out; none if there is no end.
func slotsGiven(s *Slots) int64 {
	for n := range int64(100) {
		if _, err := s.Get(); err != nil {
			return n
		}
	}
	return boundtest.None
}

// probed returns the mean time between two probes of p, or None.
func probed(t *testing.T, p *Pool) (every int64) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{}
		serve(t, &Handler{}, n.listen("a"))
		var dials atomic.Int64
		p.Servers, p.Size = map[string]string{"a": "a"}, 1
		p.Dialer.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
			dials.Add(1)
			return n.dial(ctx, network, addr)
		}
		start(t, p)
		time.Sleep(2 * time.Second) // it is full
		const most = 1000
		before := dials.Load()
		time.Sleep(most * time.Second)
		if n := dials.Load() - before; n > 0 {
			every = int64((most * time.Second / time.Duration(n)).Round(time.Second))
			return
		}
		every = boundtest.None
	})
	return every
}
