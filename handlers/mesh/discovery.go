package mesh

import (
	"context"
	"net/netip"
)

// A Discovery finds the other nodes of a mesh, and has them find this one. [MDNS], [Static] and
// [DNS] are ones.
type Discovery interface {
	// Discover announces self and tells e of the others, until ctx ends. Before it returns it
	// withdraws the announcement, in less than some seconds. When it fails before, it is called
	// again after a pause.
	Discover(ctx context.Context, self Self, e Events) error
}

// Self is what a node tells of itself.
type Self struct {
	Name string // of the mesh
	ID   string
	// Fresh says that the ID was made up just now: nobody can have heard of it.
	Fresh bool
	// Addr is where it listens; its address is unspecified when that is all of this machine.
	Addr netip.AddrPort
	// Lost has a value when a connection was lost or a peer could not be reached: it is time to ask
	// again.
	Lost <-chan struct{}
}

// Events is what becomes of a Discovery's findings. Its funcs may be called by any goroutine,
// during Discover.
type Events struct {
	// Ready says that the ID is this node's, and that the others find it from now on, or in a
	// second or two. The second call does nothing.
	Ready func()
	// Found tells that a node is there, each time that it is heard of.
	Found func(p Peer)
	// Failed tells of an error after which discovery goes on.
	Failed func(err error)
}

// A Peer is another node as a [Discovery] knows it.
type Peer struct {
	// ID may be empty where nodes tell it themselves: with Hello, a Key or an Identity.
	ID string
	// Addrs are where it may be, the best first. Without any it has left.
	Addrs []netip.AddrPort
}
