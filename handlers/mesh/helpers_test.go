package mesh

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// patience bounds how long a test waits for an event, on a busy machine.
const patience = time.Minute

// eventually waits until ok returns true.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for late := time.Now().Add(patience); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(late) {
			t.Fatalf("%s: not so after %v", what, patience)
		}
	}
}

// get receives from c.
func get[T any](t testing.TB, what string, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(patience):
		t.Fatalf("%s: nothing after %v", what, patience)
	}
	return v
}

// lan is a network in which nodes find each other at once.
type lan struct {
	mu    sync.Mutex
	nodes map[string]Peer
	all   []func(Peer)
}

func (l *lan) Discover(ctx context.Context, self Self, e Events) error {
	me := Peer{ID: self.ID, Addrs: addrsOf(self)}
	l.mu.Lock()
	e.Ready()
	if l.nodes == nil {
		l.nodes = map[string]Peer{}
	}
	for _, p := range l.nodes {
		e.Found(p)
	}
	for _, tell := range l.all {
		tell(me)
	}
	l.nodes[self.ID] = me
	l.all = append(l.all, e.Found)
	i := len(l.all) - 1
	l.mu.Unlock()
	<-ctx.Done()
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.nodes, self.ID)
	l.all[i] = func(Peer) {}
	for _, tell := range l.all {
		tell(Peer{ID: self.ID})
	}
	return nil
}

func addrsOf(self Self) (all []netip.AddrPort) {
	for _, a := range addressesOf(self.Addr.Addr()) {
		all = append(all, netip.AddrPortFrom(a, self.Addr.Port()))
	}
	return all
}

// watched is a node whose events are recorded.
type watched struct {
	*Node
	mu        sync.Mutex
	events    []string
	conns     chan *Conn
	listening chan struct{}
	errors    chan error
}

func (w *watched) note(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, fmt.Sprintf(format, args...))
}

func (w *watched) noted() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.events)
}

// watchNode records the events of n, and closes n when the test ends.
func watchNode(t testing.TB, n *Node) *watched {
	w := &watched{
		Node: n, conns: make(chan *Conn, 100), listening: make(chan struct{}), errors: make(chan error, 100),
	}
	for _, d := range []*time.Duration{&n.DialTimeout, &n.HelloTimeout, &n.WriteTimeout} {
		*d = cmp.Or(*d, patience) // a busy machine answers late
	}
	n.OnConnection = func(c *Conn) {
		w.note("connection")
		w.conns <- c
	}
	n.OnListening = func() {
		w.note("listening")
		close(w.listening)
	}
	n.OnError = func(err error) {
		select {
		case w.errors <- err:
		default:
		}
	}
	n.OnClose = func() { w.note("close") }
	t.Cleanup(func() { n.Close() })
	return w
}

// listen makes a node on the loopback interface and waits until it listens.
func listen(t testing.TB, n *Node) *watched {
	t.Helper()
	w := watchNode(t, n)
	if err := n.Listen(0, "127.0.0.1"); err != nil {
		t.Fatalf("Listen: %v", err)
	}
	get(t, "listening", w.listening)
	return w
}

// wantConns waits until the nodes have these numbers of connections.
func wantConns(t testing.TB, want []int, nodes ...*watched) {
	t.Helper()
	got, last := make([]int, len(nodes)), []int(nil)
	for since := time.Now(); time.Since(since) < patience; time.Sleep(5 * time.Millisecond) {
		for i, n := range nodes {
			got[i] = len(n.Connections())
		}
		switch {
		case slices.Equal(got, want):
			return
		case !slices.Equal(got, last): // a busy machine may need longer for all of them
			since, last = time.Now(), slices.Clone(got)
		}
	}
	t.Fatalf("connections are %v, and were so for %v, want %v", got, patience, want)
}

// say writes text to from, and fails unless it arrives at to.
func say(t testing.TB, from, to net.Conn, text string) {
	t.Helper()
	if _, err := from.Write([]byte(text)); err != nil {
		t.Errorf("Write: %v", err)
	}
	hear(t, to, text)
}

// hear reads text from c.
func hear(t testing.TB, c net.Conn, text string) {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(patience))
	var got strings.Builder
	buf := make([]byte, 1)
	for got.Len() < len(text) {
		n, err := c.Read(buf)
		got.Write(buf[:n])
		if err != nil {
			t.Fatalf("Read() = %v after %q, want %q", err, got.String(), text)
		}
	}
	if got.String() != text {
		t.Errorf("got %q, want %q", got.String(), text)
	}
}

// idOfTest returns a short name for a test, which differs in each run.
func idOfTest(name string) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d %d", name, os.Getpid(), started.UnixNano()))
	return hex.EncodeToString(sum[:5])
}

var started = time.Now()

// failingDial returns a dial whose first call fails.
func failingDial(err error, tried *atomic.Bool) func(ctx context.Context, addr netip.AddrPort) (net.Conn, error) {
	return func(ctx context.Context, addr netip.AddrPort) (net.Conn, error) {
		if tried.CompareAndSwap(false, true) {
			return nil, err
		}
		var d net.Dialer
		return d.DialContext(ctx, "tcp", addr.String())
	}
}

// brokenListener is a listener that fails once.
type brokenListener struct {
	net.Listener
	err error
}

func (l *brokenListener) Accept() (net.Conn, error) {
	if err := l.err; err != nil {
		l.err = nil
		return nil, err
	}
	return l.Listener.Accept()
}
