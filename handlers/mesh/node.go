package mesh

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/internal/setting"
	"github.com/portluck/portluck/handlers/internal/tasks"
)

// ErrIDInUse means that another node of the mesh has the same id: neither can be told from the
// other.
var ErrIDInUse = errors.New("the id is in use by another node of this name")

// A Node is one member of a mesh: it has one connection with each other node of the same name. Set
// the fields before [Node.Listen], and do not change them after; only Name is required. Its methods
// may be called by any goroutine.
//
// Callbacks run concurrently, but OnListening is first and OnClose last. Each may call any method.
// A panic in OnConnection closes that connection; after a panic in another callback the node goes
// on.
type Node struct {
	// Name is what all nodes of the mesh share: 1 to 15 letters, digits and hyphens. A leading _ is
	// dropped.
	Name string
	// ID identifies this node: 1 to 63 hexadecimal digits, as many on each node. If empty, it is
	// the one of Identity, or else of [NewID].
	ID string

	// OnConnection is called with each new connection, in its own goroutine. It may keep c and
	// return. The program must keep reading c, if only to discard: a peer can send no more while 64
	// KiB are unread, and gives up in the end.
	OnConnection func(c *Conn)
	// OnListening runs when the other nodes can find this one. With [MDNS] it runs when no other
	// node has the id; if ID is set, the announcement follows 1.2 s later, after a goodbye for an
	// earlier run with that ID.
	OnListening func()
	// OnError gets the errors that no connection returns: a peer cannot be reached, a stranger was
	// refused, the listener or discovery failed. The node goes on. Calls do not overlap; errors are
	// dropped while OnError is slow.
	OnError func(err error)
	// Log logs the errors that OnError gets; a portluck server is one. If nil, the port of
	// [Node.Serve] logs them, from the first connection on. A node on its own port then logs
	// nothing.
	Log handlers.ErrorLogger
	// OnClose runs when everything is closed.
	OnClose func()

	// Discovery finds the other nodes; [MDNS] if nil.
	Discovery Discovery

	// Hello makes both sides of a connection begin with a line that has their name and id. Then the
	// nodes can share a port with other protocols, see [HelloPrefix]. Without Hello, Key and
	// Identity only the program's bytes are sent, as upstream does.
	Hello bool
	// Key is a secret that all nodes share, of 16 bytes or more. Connections are TLS, and a peer
	// that does not know the Key is refused.
	Key []byte
	// Identity is this node's own private key. Connections are TLS, the node's id is the
	// [IdentityID] of the key, and only the nodes of Trust may connect.
	Identity ed25519.PrivateKey
	// Trust lists the ids that may join. It needs Identity.
	Trust []string

	// Dial connects to a peer; a [net.Dialer] if nil.
	Dial func(ctx context.Context, addr netip.AddrPort) (net.Conn, error)
	// DialTimeout bounds the dial of one address; 5 seconds if zero, no bound if negative.
	DialTimeout time.Duration
	// HelloTimeout bounds TLS and Hello; 10 seconds if zero, no bound if negative.
	HelloTimeout time.Duration
	// WriteTimeout bounds the time in which a peer accepts no bytes while some wait for it; 10
	// seconds if zero, no bound if negative.
	WriteTimeout time.Duration
	// CloseTimeout bounds the end of a connection, and each of the three steps of [Node.Close]; 5
	// seconds if zero, no bound if negative.
	CloseTimeout time.Duration
	// PeerTimeout bounds the time until the node notices that a peer's machine has died; 30 seconds
	// if zero, no bound if negative.
	PeerTimeout time.Duration
	// Retry is the longest pause between attempts to reach a peer; 30 seconds if zero, no bound if
	// negative. The first is 100 ms, and each is twice the one before.
	Retry time.Duration
	// Forget is how long the node goes on dialling a peer that it cannot reach, counted from the
	// last news of it; 5 minutes if zero, for ever if negative.
	Forget time.Duration
	// MaxConns bounds the number of connections; 1,024 if zero, no bound if negative. Further ones
	// are closed.
	MaxConns int
	// Queue bounds the bytes that wait for one peer; 1 MiB if zero, no bound if negative.
	Queue int

	mu        sync.Mutex
	name      string // Name as it is announced
	id        string // ID in upper case, or what was made for it
	listener  net.Listener
	local     netip.AddrPort
	listening bool
	closing   bool
	stop      context.CancelFunc // of discovery; nil before Listen
	cut       context.CancelFunc // of everything
	conns     []*Conn            // in the order in which they came
	members   map[string]*Conn   // of conns, those whose id is known
	joining   map[string]bool    // ids of peers that we are joining
	pending   int                // accepted, but not yet of conns
	peers     map[string]*peer   // that we dial
	secure    *security          // nil without Key and Identity

	takeShared func(nc net.Conn, release func()) // of Serve; nil before Join
	port       handlers.Port                     // of the last Serve
	ready      chan struct{}                     // closed when OnListening has run, or will not
	closed     chan struct{}                     // closed when everything is, before OnClose
	errs       chan error
	lost       chan struct{} // of Self
	sought     chan struct{} // closed when discovery has ended

	over chan struct{} // closed when OnClose has returned

	wg    sync.WaitGroup // all that Close waits for but callbacks, which may call it
	calls tasks.Group    // callbacks: Close waits for those that do not call it
}

// LocalID returns the node's id in upper case. Before Listen it is empty unless ID is set.
func (n *Node) LocalID() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.id
}

// Connections returns the open connections, the oldest first.
func (n *Node) Connections() []*Conn {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.conns)
}

// Broadcast sends p on every connection and returns their number. It does not wait: a peer whose
// queue has no room is disconnected with [handlers.ErrSlow].
func (n *Node) Broadcast(p []byte) int {
	sent := 0
	for _, c := range n.Connections() {
		switch err := c.Send(p); {
		case err == nil:
			sent++
		case errors.Is(err, handlers.ErrSlow):
			c.abort(err)
			n.fail(fmt.Errorf("mesh: peer %s at %s: %w", c.id, c.RemoteAddr(), err))
		}
	}
	return sent
}

// An Address is where a node can be reached.
type Address struct {
	Port int
	// Addresses are the addresses that the node listens on: IPv4 before IPv6, and loopback first in
	// each.
	Addresses []netip.Addr
}

// Address returns where the node listens. It is nil before OnListening and after Close.
func (n *Node) Address() *Address {
	n.mu.Lock()
	local, listening := n.local, n.listening && !n.closing
	n.mu.Unlock()
	if !listening {
		return nil
	}
	return &Address{Port: int(local.Port()), Addresses: addressesOf(local.Addr())}
}

// addressesOf returns the addresses that a listener on ip listens on.
func addressesOf(ip netip.Addr) []netip.Addr {
	if !ip.IsUnspecified() {
		return []netip.Addr{ip}
	}
	var all []netip.Addr
	list, _ := net.InterfaceAddrs() // without any there is nothing to tell
	for _, a := range list {
		if p, ok := a.(*net.IPNet); ok {
			if addr, ok := netip.AddrFromSlice(p.IP); ok {
				all = append(all, addr.Unmap())
			}
		}
	}
	slices.SortStableFunc(all, func(a, b netip.Addr) int { return local(a) - local(b) })
	return all
}

func local(a netip.Addr) int {
	order := 0
	if !a.Is4() {
		order = 2
	}
	if !a.IsLoopback() {
		order++
	}
	return order
}

// fail logs an error, and reports it to OnError.
func (n *Node) fail(err error) { n.failFrom(nil, err) }

// failFrom is fail for an error that a stranger can cause; info describes the stranger.
func (n *Node) failFrom(info *handlers.Info, err error) {
	n.mu.Lock()
	errs := n.errs
	n.mu.Unlock()
	var onError func()
	if errs != nil && n.OnError != nil {
		onError = func() {
			select {
			case errs <- err:
			default: // OnError is slow
			}
		}
	}
	handlers.Report(n.log(), info, err, onError)
}

// log returns the logger of errors: Log, or the port, or nil.
func (n *Node) log() any {
	if n.Log != nil {
		return n.Log
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.port
}

func (n *Node) dialTimeout() time.Duration {
	return setting.Or(n.DialTimeout, 5*time.Second, setting.Never)
}

func (n *Node) helloTimeout() time.Duration {
	return setting.Or(n.HelloTimeout, 10*time.Second, setting.Never)
}

func (n *Node) writeTimeout() time.Duration {
	return setting.Or(n.WriteTimeout, 10*time.Second, setting.Never)
}

func (n *Node) closeTimeout() time.Duration {
	return setting.Or(n.CloseTimeout, 5*time.Second, setting.Never)
}

func (n *Node) peerTimeout() time.Duration {
	return setting.Or(n.PeerTimeout, 30*time.Second, setting.Never)
}

func (n *Node) retry() time.Duration { return setting.Or(n.Retry, 30*time.Second, setting.Never) }

func (n *Node) forget() time.Duration { return setting.Or(n.Forget, 5*time.Minute, setting.Never) }
func (n *Node) maxConns() int         { return setting.Or(n.MaxConns, 1024, math.MaxInt) }
func (n *Node) queue() int            { return setting.Or(n.Queue, 1<<20, math.MaxInt) }

// tells reports whether both sides of a connection begin with their id.
func (n *Node) tells() bool { return n.Hello || n.secure != nil }
