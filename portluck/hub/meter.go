package hub

import (
	"sync/atomic"
	"time"
)

// Traffic counts what a client has sent and received.
type Traffic struct {
	Duration time.Duration // from OnConnect to OnDisconnect
	In, Out  uint64        // bytes of the client's messages; bytes written to it
}

// A meter counts the traffic of a client.
type meter struct {
	since   time.Time
	in, out atomic.Uint64
}

// meter begins to count for c, if b counts traffic.
func (b *Binding) meter(c *Client) {
	if b.meters != nil {
		b.meters.Store(c, &meter{since: time.Now()})
	}
}

// measured ends the counting for c and returns the result; nil if there was none.
func (b *Binding) measured(c *Client) *Traffic {
	if b.meters == nil {
		return nil
	}
	v, ok := b.meters.LoadAndDelete(c)
	if !ok {
		return nil
	}
	m := v.(*meter)
	return &Traffic{Duration: time.Since(m.since), In: m.in.Load(), Out: m.out.Load()}
}

// meterOf returns the meter of c; nil if there is none.
func (b *Binding) meterOf(c *Client) *meter {
	if b.meters == nil {
		return nil
	}
	v, ok := b.meters.Load(c)
	if !ok {
		return nil
	}
	return v.(*meter)
}

// received counts n bytes of a message of c.
func (c *Client) received(n int) {
	if m := c.binding().meterOf(c); m != nil {
		m.in.Add(uint64(n))
	}
}

// sent counts n bytes that were written to c.
func (c *Client) sent(n int) {
	if m := c.binding().meterOf(c); m != nil {
		m.out.Add(uint64(n))
	}
}
