package mesh

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/internal/guarded"
)

// take makes an accepted connection a member. It calls release when the connection is closed.
func (n *Node) take(ctx context.Context, nc net.Conn, release func()) {
	nc = guarded.Conn(nc)
	if release == nil {
		release = func() {}
	}
	drop := func(err error) {
		nc.Close()
		release()
		if !errors.Is(err, errSelf) { // it tells that itself
			remote, _ := netip.ParseAddrPort(nc.RemoteAddr().String()) // zero for one that is none
			n.failFrom(&handlers.Info{Protocol: Protocol, Remote: remote}, fmt.Errorf("mesh: connection from %s: %w", nc.RemoteAddr(), err))
		}
	}
	n.mu.Lock()
	closing, full := n.closing, len(n.conns)+n.pending >= n.maxConns()
	if !closing && !full {
		n.pending++
		n.wg.Go(func() { // ends when OnConnection can be called
			err := n.welcome(ctx, nc, release)
			n.mu.Lock()
			n.pending--
			n.mu.Unlock()
			if err != nil {
				drop(err)
			}
		})
	}
	n.mu.Unlock()
	switch {
	case closing:
		nc.Close()
		release()
	case full:
		drop(errFull)
	}
}

// welcome learns the id of the peer, if it is told, and starts the connection.
func (n *Node) welcome(ctx context.Context, nc net.Conn, release func()) error {
	select {
	case <-n.ready: // nobody is a member before OnListening
	case <-ctx.Done():
		return net.ErrClosed
	}
	if !n.tells() {
		return n.welcomed(newConn(n, nc, "", false), release)
	}
	inner, id, err := n.receive(ctx, nc)
	if err != nil {
		return err
	}
	return n.welcomed(newConn(n, inner, id, false), release)
}

func (n *Node) welcomed(c *Conn, release func()) error {
	c.release = release
	old, err := n.admit(c)
	if c.id != "" {
		if werr := n.answerJoin(c.raw, err == nil); werr != nil && err == nil {
			n.remove(c)
			err = werr
		}
	}
	if err == nil {
		n.start(c, old)
	}
	return err
}

var (
	errFull   = errors.New("too many connections")
	errSelf   = errors.New("this node itself")
	errSecond = errors.New("there is a connection with this peer already")
)

// admit enters c, unless there is a better connection with the same peer. It returns the one that c
// replaces: a connection that the node with the lower id has dialled replaces one of the other, and
// a later one of the same node an earlier one.
func (n *Node) admit(c *Conn) (old *Conn, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch old = n.members[c.id]; {
	case n.closing:
		return nil, net.ErrClosed
	case old == nil:
	case old.dialled == c.dialled, c.dialled == dials(n.id, c.id):
		n.removeLocked(old)
	default:
		return old, errSecond
	}
	n.conns = append(n.conns, c)
	if c.id != "" {
		n.members[c.id] = c
	}
	return old, nil
}

// start runs a connection that was admitted.
func (n *Node) start(c, old *Conn) {
	if old != nil {
		old.abort(errSecond)
	}
	n.wg.Go(c.pump) // ends with the connection
	n.mu.Lock()
	closing := n.closing
	n.mu.Unlock()
	if closing { // while Close ends the others
		c.Close()
		return
	}
	if n.OnConnection != nil {
		n.calls.Go(func() { // ends with OnConnection
			failed := func(err error) {
				c.abort(errPanic)
				n.fail(fmt.Errorf("mesh: OnConnection: %w", err))
			}
			if err := handlers.GuardExit(func() { n.OnConnection(c) }, failed); err != nil {
				failed(err)
			}
		})
	}
}

func (n *Node) remove(c *Conn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.removeLocked(c)
}

func (n *Node) removeLocked(c *Conn) {
	n.conns = slices.DeleteFunc(n.conns, func(o *Conn) bool { return o == c })
	if n.members[c.id] == c {
		delete(n.members, c.id)
	}
}
