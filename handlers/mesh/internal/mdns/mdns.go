package mdns

import (
	"context"
	"errors"
	"net/netip"
	"time"
)

// ErrConflict means that another host has announced the same instance of the service.
var ErrConflict = errors.New("the name of the instance is in use")

// Config is an instance of a service to announce. [Run] browses for the other instances of that
// service.
type Config struct {
	// Service is the type of the service, such as _http._tcp, in the domain local.
	Service string
	// Instance is the name of this instance, one label of at most 63 bytes. As a comparison ignores
	// case, it is in upper case.
	Instance string
	// Host is the name of the host of the instance, without the domain. It must be unique on the
	// link, as it is not probed for: the machine's own name belongs to the system's responder.
	Host string
	// Addr is where the instance listens. If its address is unspecified, it listens on all of this
	// machine's.
	Addr netip.AddrPort
	// Fresh tells that no cache can have an earlier life of this instance, such as after a crash.
	// If false, a goodbye precedes the announcement.
	Fresh bool
	// Valid reports whether name can be an instance of the service; others are ignored. All are
	// valid if nil.
	Valid func(name string) bool

	// Interfaces are the names of the network interfaces to use. If empty they follow Addr: the
	// interface that has its address, or all that are up.
	Interfaces []string
	// Rescan is how often to look for interfaces and addresses that have come or gone; it must be
	// positive.
	Rescan time.Duration
	// ProbePause is the pause between two probes; 250 ms if zero (RFC 6762, section 8.1).
	ProbePause time.Duration
	// Query, when it has a value, has Run query for the service within a second.
	Query <-chan struct{}
}

// Events is what Run calls, in its own goroutine, one func at a time.
type Events struct {
	// Ready tells that the name of the instance is ours, and will be announced in a second or two
	// at most.
	Ready func()
	// Found tells that an instance exists, or that it has left, each time that a response is about
	// it.
	Found func(i Instance)
	// Failed tells of an error after which Run goes on.
	Failed func(err error)
}

// An Instance is an instance of the service on another host.
type Instance struct {
	// Name is in upper case.
	Name string
	// Addrs are where it listens, the best first. If empty, it has left.
	Addrs []netip.AddrPort
}

// Run announces an instance of a service and browses for others, until ctx ends. Then it says
// goodbye, which takes 100 ms, and returns nil. It returns [ErrConflict] if another host has the
// name of the instance when Run begins; a conflict that arises later goes to Failed.
func Run(ctx context.Context, c Config, e Events) error {
	names, err := newNames(c)
	if err != nil {
		return err
	}
	r := newResponder(c, e, names)
	defer r.close()
	return r.run(ctx)
}
