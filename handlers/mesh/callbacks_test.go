package mesh

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/testdata/funcs"
)

// callback is a func or an interface of the program.
type callback struct {
	name  string // Type.Field, if it is a field
	set   func(n *carrier, f func())
	raise func(t *testing.T, n, peer *carrier) // nil if meeting a peer raises it
	last  bool                                 // Close calls it
}

// skip makes the next message of peer leave a gap.
func skip(peer *carrier) {
	peer.b.mu.Lock()
	defer peer.b.mu.Unlock()
	peer.b.seq++
}

var errOfTest = errors.New("of the test")

var callbacks = []callback{
	{name: "Node.OnConnection", set: func(n *carrier, f func()) {
		n.OnConnection = func(c *Conn) { f(); n.b.Serve(c) }
	}},
	{name: "Node.OnListening", set: func(n *carrier, f func()) { n.OnListening = f }},
	{name: "Node.OnError", set: func(n *carrier, f func()) {
		n.Dial = failingDial(errOfTest, new(atomic.Bool))
		n.OnError = func(error) { f() }
	}},
	{name: "Node.OnClose", last: true, set: func(n *carrier, f func()) { n.OnClose = f }},
	{name: "Node.Dial", set: func(n *carrier, f func()) {
		n.Dial = func(ctx context.Context, addr netip.AddrPort) (net.Conn, error) {
			f()
			return new(net.Dialer).DialContext(ctx, "tcp", addr.String())
		}
	}},
	{name: "Node.Dial of nothing", set: func(n *carrier, f func()) {
		n.Dial = func(ctx context.Context, addr netip.AddrPort) (nc net.Conn, err error) {
			defer func() {
				if recover() != nil {
					nc, err = nil, nil
				}
			}()
			f()
			return new(net.Dialer).DialContext(ctx, "tcp", addr.String())
		}
	}},
	{name: "Discovery", set: func(n *carrier, f func()) { n.Discovery = discovery{n.Discovery, f} }},
	{name: "DNS.Lookup", set: func(n *carrier, f func()) {
		to := n.Discovery.(*lan)
		n.Hello = true
		n.Discovery = &DNS{Host: "x", Port: to.port(), Lookup: func(context.Context, string) ([]netip.Addr, error) {
			f()
			return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
		}}
	}},
	{name: "Backplane.OnLine", set: func(n *carrier, f func()) {
		n.b.OnLine = func(*Conn, []byte) { f() }
	}, raise: func(t *testing.T, _, peer *carrier) {
		if _, err := peer.Connections()[0].Write([]byte("x\n")); err != nil {
			t.Error(err)
		}
	}},
	{name: "a subscriber's Deliver", set: func(n *carrier, f func()) {
		deliver := n.b.subscriber.Deliver
		n.b.subscriber.Deliver = func(d handlers.Delivery) { f(); deliver(d) }
	}, raise: func(t *testing.T, _, peer *carrier) { peer.publish(t, "r", "first") }},
	{name: "a subscriber's Gap", set: gaps, raise: func(t *testing.T, _, peer *carrier) {
		skip(peer)
		peer.publish(t, "r", "first")
	}},
	{name: "a subscriber's Gap after a reconnection", set: gaps, raise: func(_ *testing.T, n, peer *carrier) {
		skip(peer)
		n.Connections()[0].abort(errOfTest)
	}},
}

func gaps(n *carrier, f func()) { n.b.subscriber.Gap = func(string, uint64, uint64) { f() } }

type discovery struct {
	Discovery
	f func()
}

func (d discovery) Discover(ctx context.Context, self Self, e Events) error {
	d.f()
	return d.Discovery.Discover(ctx, self, e)
}

// port returns the port of the only node.
func (l *lan) port() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range l.nodes {
		return int(p.Addrs[0].Port())
	}
	return 0
}

// eachCallback calls do once in every callback, and then rest.
func eachCallback(t *testing.T, do func(n *carrier), rest func(t *testing.T, c callback, n, peer *carrier)) {
	t.Parallel()
	for _, c := range callbacks {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l := &lan{}
			peer := carry(t, &Node{Name: "x", ID: "0B", Discovery: l, Hello: c.name == "DNS.Lookup"})
			eventually(t, "the peer can be found", func() bool { return l.port() != 0 })
			n := &carrier{b: &Backplane{}}
			n.watched = watchNode(t, &Node{Name: "x", ID: "0A", Discovery: l, CloseTimeout: 50 * time.Millisecond})
			n.OnConnection = n.b.Serve
			_ = n.b.Subscribe(handlers.Subscriber{Deliver: func(d handlers.Delivery) { n.add("%s", d.Message.Data) }})
			var called atomic.Bool
			done := make(chan struct{})
			c.set(n, func() {
				if called.CompareAndSwap(false, true) {
					defer close(done) // also after a panic
					do(n)
				}
			})
			if err := n.Listen(0, "127.0.0.1"); err != nil {
				t.Fatal(err)
			}
			if c.raise != nil {
				eventually(t, "they have met", func() bool { return n.b.Stats().Nodes == 1 && peer.b.Stats().Nodes == 1 })
				c.raise(t, n, peer)
			}
			if c.last {
				n.Close()
			}
			get(t, "the callback's end", done)
			rest(t, c, n, peer)
		})
	}
}

// A panic in a callback costs one connection, or one call. What the peer publishes afterwards
// arrives, and Close returns.
func TestCallbacksPanic(t *testing.T) {
	var names []string
	for _, c := range callbacks {
		if strings.Contains(c.name, ".") && !strings.Contains(c.name, " ") {
			names = append(names, c.name)
		}
	}
	// The funcs of Events are set by the node.
	funcs.Covered(t, append(names, "Events.Ready", "Events.Found", "Events.Failed")...)
	eachCallback(t, func(*carrier) { panic("of the program") }, goesOn)
}

// A callback that ends its goroutine costs no more than one that panics.
func TestCallbacksGoexit(t *testing.T) {
	eachCallback(t, func(*carrier) { runtime.Goexit() }, goesOn)
}

// goesOn fails unless n still gets messages, and can be closed.
func goesOn(t *testing.T, c callback, n, peer *carrier) {
	if !c.last {
		eventually(t, "a message arrives", func() bool {
			peer.publish(t, "r", "again")
			return slices.Contains(strings.Fields(n.all()), "again")
		})
	}
	n.Close()
	eventually(t, "the peer's connection is gone", func() bool { return len(peer.Connections()) == 0 })
}

// Every callback may call Close, which returns.
func TestCallbacksClose(t *testing.T) {
	eachCallback(t, func(n *carrier) {
		n.b.Close()
		n.Close()
	}, func(t *testing.T, _ callback, n, peer *carrier) {
		eventually(t, "the peer's connection is gone", func() bool {
			return len(peer.Connections()) == 0 && len(n.Connections()) == 0
		})
	})
}

// Close returns after the last callback, even if it is not the first Close.
func TestCloseWaitsForCallbacks(t *testing.T) {
	for _, c := range callbacks {
		if !strings.HasPrefix(c.name, "Node.") {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l := &lan{}
			carry(t, &Node{Name: "x", ID: "0B", Discovery: l})
			eventually(t, "the peer can be found", func() bool { return l.port() != 0 })
			n := &carrier{b: &Backplane{}}
			n.watched = watchNode(t, &Node{Name: "x", ID: "0A", Discovery: l, CloseTimeout: time.Minute})
			n.OnConnection = n.b.Serve
			var returned atomic.Bool
			called, release, closed := make(chan struct{}), make(chan struct{}), make(chan struct{})
			c.set(n, sync.OnceFunc(func() { close(called); <-release; returned.Store(true) }))
			if err := n.Listen(0, "127.0.0.1"); err != nil {
				t.Fatal(err)
			}
			if !c.last {
				get(t, "the callback", called)
			}
			for range 2 {
				go func() { // ends when the callback has returned
					n.Close()
					if !returned.Load() {
						t.Error("Close() has returned before the callback")
					}
					closed <- struct{}{}
				}()
			}
			get(t, "the callback", called)
			select {
			case <-closed:
			case <-time.After(10 * time.Millisecond):
			}
			close(release)
			get(t, "Close", closed)
			get(t, "the second Close", closed)
		})
	}
}
