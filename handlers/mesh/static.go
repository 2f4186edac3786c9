package mesh

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"time"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/internal/setting"
)

// Static is a [Discovery] with a fixed list of peers. The list may be the same on each node, with
// the node itself in it. A peer without an ID needs a node that tells its own: Hello, a Key or an
// Identity.
type Static []Peer

// Discover reports the peers, again and again, until ctx ends.
func (s Static) Discover(ctx context.Context, self Self, e Events) error {
	e.Ready()
	for {
		for _, p := range s {
			e.Found(p)
		}
		if !pauseOrLost(ctx, 30*time.Second, self.Lost) {
			return nil
		}
	}
}

// DNS is a [Discovery] by unicast DNS, for a mesh beyond one network: it asks for the addresses of
// a name, such as that of a headless service of Kubernetes, every Interval and when a peer was
// lost. Nodes tell their ids themselves: it needs Hello, a Key or an Identity.
type DNS struct {
	// Host is the name; its addresses are those of the nodes.
	Host string
	// Port is the port of the nodes; this node's own if zero. Discover fails if it is no valid
	// port.
	Port int
	// Interval is how often to ask; 30 seconds if zero. If negative, it asks once, and when a peer
	// was lost.
	Interval time.Duration
	// Lookup looks a name up; [net.DefaultResolver] does if nil.
	Lookup func(ctx context.Context, host string) ([]netip.Addr, error)
}

// Discover asks until ctx ends.
func (d *DNS) Discover(ctx context.Context, self Self, e Events) error {
	if d.Host == "" {
		return errors.New("DNS without a Host")
	}
	if d.Port < 0 || d.Port > math.MaxUint16 {
		return fmt.Errorf("DNS: port %d: it must be a number from 0 to 65535", d.Port)
	}
	e.Ready() // who asks finds this node, if it is in the DNS
	lookup, port := d.Lookup, d.Port
	if lookup == nil {
		lookup = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}
	if port == 0 {
		port = int(self.Addr.Port())
	}
	for {
		all, err := d.ask(ctx, lookup, uint16(port))
		if ctx.Err() == nil && err != nil {
			e.Failed(err)
		}
		for _, a := range all {
			e.Found(Peer{Addrs: []netip.AddrPort{a}})
		}
		if !pauseOrLost(ctx, d.interval(), self.Lost) {
			return nil
		}
	}
}

func (d *DNS) interval() time.Duration { return setting.Or(d.Interval, 30*time.Second, setting.Never) }

func (d *DNS) ask(ctx context.Context, lookup func(context.Context, string) ([]netip.Addr, error), port uint16) ([]netip.AddrPort, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	all, err := lookup(ctx, d.Host)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", d.Host, err)
	}
	var addrs []netip.AddrPort
	for _, a := range all {
		addrs = append(addrs, netip.AddrPortFrom(a.Unmap(), port))
	}
	return addrs, nil
}

// pauseOrLost waits, less long when a peer was lost. It is false at the end of ctx.
func pauseOrLost(ctx context.Context, d time.Duration, lost <-chan struct{}) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
		return false
	case <-lost:
		return handlers.Pause(ctx.Done(), time.Second) // not at once: many are lost together
	}
	return true
}
