package mesh

import (
	"context"
	"net/netip"
)

// A Discovery finds the other nodes of a mesh, and lets them find this one. [MDNS], [Static] and
// [DNS] implement it.
type Discovery interface {
	// Discover announces self and reports the other nodes to e, until ctx ends. Then it withdraws
	// the announcement, within a few seconds, and returns. If it returns before ctx ends, the node
	// calls it again after a pause.
	Discover(ctx context.Context, self Self, e Events) error
}

// Self is what a node announces about itself.
type Self struct {
	Name string // of the mesh
	ID   string
	// Fresh is set if the ID was generated just now: nobody can have heard of it.
	Fresh bool
	// Addr is where the node listens. Its address is unspecified if the node listens on all
	// addresses of this machine.
	Addr netip.AddrPort
	// Lost receives a value when a connection was lost or a peer could not be reached: Discover
	// should look for the others again.
	Lost <-chan struct{}
}

// Events are the funcs that Discover calls, from any goroutine, until it returns.
type Events struct {
	// Ready reports that no other node has this node's ID, and that the others can find this one
	// within a second or two. Only the first call counts.
	Ready func()
	// Found reports a node each time something about it has changed.
	Found func(p Peer)
	// Failed reports an error after which discovery goes on.
	Failed func(err error)
}

// A Peer is another node as a [Discovery] knows it.
type Peer struct {
	// ID may be empty if nodes tell it when they connect: with Hello, a Key or an Identity.
	ID string
	// Addrs are where to dial it, the best first. If empty, it has left.
	Addrs []netip.AddrPort
}
