package mesh

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/portluck/portluck/handlers/mesh/internal/mdns"

	"github.com/portluck/portluck/handlers/internal/setting"
)

// MDNS is the [Discovery] of zero configuration: multicast DNS (RFC 6762) and DNS service discovery
// (RFC 6763), beside avahi or Bonjour if the machine has one. The service is _NAME._tcp, the
// instance is the id in upper-case hex, and TXT is empty. It finds nodes on every network that the
// machine is on, also one that comes up later. The zero value is ready.
type MDNS struct {
	// Interfaces are the names of the network interfaces to use. If empty they follow the address
	// of the node: the loopback interface for a loopback address, the interface that has the
	// address, or all that are up.
	Interfaces []string
	// Rescan is how often to look for networks that have come or gone; 5 seconds if zero. If
	// negative, the networks are those of the beginning.
	Rescan time.Duration

	probePause time.Duration // that of RFC 6762 if zero
}

func (m *MDNS) rescan() time.Duration { return setting.Or(m.Rescan, 5*time.Second, setting.Never) }

// Discover announces the node and browses for others, until ctx ends; then it says goodbye. It
// fails with [ErrIDInUse] when another node has the id.
func (m *MDNS) Discover(ctx context.Context, self Self, e Events) error {
	config := mdns.Config{
		Service:    "_" + self.Name + "._tcp",
		Instance:   self.ID,
		Host:       newHost(),
		Addr:       self.Addr,
		Fresh:      self.Fresh,
		Valid:      func(name string) bool { return CheckID(name) == nil },
		Interfaces: m.Interfaces,
		Rescan:     m.rescan(),
		ProbePause: m.probePause,
		Query:      self.Lost,
	}
	err := mdns.Run(ctx, config, mdns.Events{
		Ready: e.Ready,
		Found: func(i mdns.Instance) { e.Found(Peer{ID: i.Name, Addrs: i.Addrs}) },
		Failed: func(err error) {
			if errors.Is(err, mdns.ErrConflict) {
				err = fmt.Errorf("%w: %s", ErrIDInUse, self.ID)
			}
			e.Failed(err)
		},
	})
	if errors.Is(err, mdns.ErrConflict) {
		return ErrIDInUse
	}
	return err
}

// newHost returns the name of a host that nobody else on the network has.
func newHost() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return "mesh-" + hex.EncodeToString(b[:])
}
