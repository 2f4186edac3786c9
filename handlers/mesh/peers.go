package mesh

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/internal/guarded"
)

const (
	firstPause = 100 * time.Millisecond // before the second attempt to reach a peer
	// settled is how long a connection must have lived to count as one that works.
	settled  = 5 * time.Second
	maxPeers = 1024
	maxAddrs = 16 // of one peer
)

// peer is a node that we dial.
type peer struct {
	id    string // empty if it is not known before it tells
	addrs []netip.AddrPort
	heard time.Time
	gone  bool          // it has said goodbye
	news  chan struct{} // has a value when addrs or gone have changed
}

// meet takes what discovery has found.
func (n *Node) meet(ctx context.Context, p Peer) {
	p.ID = strings.ToUpper(p.ID)
	if !n.concerns(p) {
		return
	}
	key := p.ID
	if key == "" {
		key = p.Addrs[0].String()
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	known := n.peers[key]
	switch {
	case n.closing, known == nil && (len(p.Addrs) == 0 || len(n.peers) >= maxPeers):
		return
	case known == nil:
		known = &peer{id: p.ID, news: make(chan struct{}, 1)}
		n.peers[key] = known
		n.wg.Go(func() { n.keep(ctx, key, known) }) // ends when the peer is forgotten, or with ctx
	}
	known.heard = time.Now()
	addrs := slices.Clone(p.Addrs[:min(len(p.Addrs), maxAddrs)])
	if known.gone != (len(addrs) == 0) || !known.gone && !slices.Equal(addrs, known.addrs) {
		known.addrs, known.gone = addrs, len(addrs) == 0
		select {
		case known.news <- struct{}{}:
		default:
		}
	}
}

// concerns reports whether this node is the one that dials p.
func (n *Node) concerns(p Peer) bool {
	if p.ID == "" {
		return n.tells() && len(p.Addrs) > 0
	}
	return CheckID(p.ID) == nil && p.ID != n.id && dials(n.id, p.ID)
}

// keep keeps a connection with p, until p is forgotten.
func (n *Node) keep(ctx context.Context, key string, p *peer) {
	select {
	case <-n.ready:
	case <-ctx.Done():
	}
	for pause := firstPause; ; {
		addrs, ok := n.wanted(key, p)
		if !ok || ctx.Err() != nil {
			return
		}
		if n.hold(ctx, p, addrs) {
			pause = firstPause
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause/2 + rand.N(pause)):
			pause = min(2*pause, n.retry())
		case <-p.news:
		}
	}
}

// wanted returns the addresses of p. It forgets a peer that has left, or of which there was no news
// for Forget, and reports false.
func (n *Node) wanted(key string, p *peer) ([]netip.AddrPort, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closing || p.gone || time.Since(p.heard) > n.forget() {
		delete(n.peers, key)
		return nil, false
	}
	return p.addrs, true
}

// hold connects with p and returns when the connection is gone. It reports whether it has lasted.
func (n *Node) hold(ctx context.Context, p *peer, addrs []netip.AddrPort) bool {
	c, err := n.reach(ctx, p, addrs)
	if err != nil && ctx.Err() == nil {
		n.fail(err)
	}
	if c != nil {
		select {
		case <-c.Done():
		case <-ctx.Done():
			return false
		}
	}
	select {
	case n.lost <- struct{}{}: // discovery may ask where it is now
	default:
	}
	if c == nil {
		return false
	}
	n.mu.Lock()
	p.heard = time.Now()
	n.mu.Unlock()
	return time.Since(c.since) > settled
}

// reach dials the addresses of p in order and returns the connection with p, which another
// goroutine may have made. It returns nil and no error if another goroutine is about to make it, or
// p is this node.
func (n *Node) reach(ctx context.Context, p *peer, addrs []netip.AddrPort) (*Conn, error) {
	var errs []error
	for _, addr := range addrs {
		nc, err := n.dial(ctx, addr)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		c, err := n.introduce(ctx, nc, p.id)
		if err == nil {
			return c, nil
		}
		nc.Close()
		switch itself := errors.Is(err, errSelf); {
		case itself && n.isOurs(addr):
			n.mu.Lock()
			p.gone = true
			n.mu.Unlock()
			return nil, nil
		case itself:
			err = ErrIDInUse
		}
		errs = append(errs, fmt.Errorf("%s: %w", addr, err))
	}
	name := p.id
	if name == "" {
		name = "(id not known)"
	}
	return nil, fmt.Errorf("mesh: peer %s: %w", name, errors.Join(errs...))
}

// isOurs reports whether this node listens on addr.
func (n *Node) isOurs(addr netip.AddrPort) bool {
	return addr.Port() == n.local.Port() && slices.Contains(addressesOf(n.local.Addr()), addr.Addr().WithZone(""))
}

func (n *Node) dial(ctx context.Context, addr netip.AddrPort) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, n.dialTimeout())
	defer cancel()
	if n.Dial != nil {
		return n.dialOwn(ctx, addr)
	}
	d := net.Dialer{KeepAlive: -1, KeepAliveConfig: n.keepAlive(), Control: controlTimeout(n.peerTimeout())}
	return d.DialContext(ctx, "tcp", addr.String())
}

// dialOwn calls Dial, and waits for it until ctx ends: Dial may call Close, which waits for us.
func (n *Node) dialOwn(ctx context.Context, addr netip.AddrPort) (net.Conn, error) {
	type result struct {
		nc  net.Conn
		err error
	}
	done := make(chan result)
	give := func(r result) {
		switch {
		case r.nc != nil:
			r.nc = guarded.Conn(r.nc)
		case r.err == nil:
			r.err = errors.New("the program's Dial returned no connection")
		}
		select {
		case done <- r:
		case <-ctx.Done():
			if r.nc != nil {
				r.nc.Close()
			}
		}
	}
	n.calls.Go(func() { // ends with Dial
		var r result
		p := handlers.GuardExit(func() { r.nc, r.err = n.Dial(ctx, addr) }, func(err error) { give(result{err: err}) })
		if p != nil {
			r.err = p
		}
		give(r)
	})
	select {
	case r := <-done:
		return r.nc, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// introduce makes a dialled connection a member. If there is one with that peer already, introduce
// returns it.
func (n *Node) introduce(ctx context.Context, nc net.Conn, want string) (*Conn, error) {
	if !n.tells() {
		return n.enter(newConn(n, nc, want, true))
	}
	inner, id, err := n.greet(ctx, nc, want)
	if err != nil {
		return nil, err
	}
	old, ours := n.claim(id)
	if !ours {
		nc.Close()
		return old, nil
	}
	defer n.unclaim(id)
	switch err := n.exchangeJoin(ctx, inner); {
	case errors.Is(err, errSecond):
		nc.Close()
		return nil, nil
	case err != nil:
		return nil, err
	}
	return n.enter(newConn(n, inner, id, true))
}

// enter admits and starts c. If there is a better connection it returns that.
func (n *Node) enter(c *Conn) (*Conn, error) {
	old, err := n.admit(c)
	if errors.Is(err, errSecond) {
		c.raw.Close()
		return old, nil
	}
	if err != nil {
		return nil, err
	}
	n.start(c, old)
	return c, nil
}

// claim reports whether the caller may join the peer with this id, until unclaim. If not, it
// returns the connection with that peer, or nil if another goroutine is joining it.
func (n *Node) claim(id string) (c *Conn, ok bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if c = n.members[id]; c != nil || n.joining[id] {
		return c, false
	}
	n.joining[id] = true
	return nil, true
}

func (n *Node) unclaim(id string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.joining, id)
}
