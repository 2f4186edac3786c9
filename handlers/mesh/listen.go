package mesh

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"time"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/internal/guarded"
	"github.com/portluck/portluck/handlers/internal/setting"
	"github.com/portluck/portluck/handlers/internal/tasks"
)

// errListening is the error of a second Listen.
var errListening = errors.New("the node listens already")

// Listen joins the mesh. It listens on port, or a free one if 0. The address is one of this
// machine's, or a name of one; it means all if it is empty, 0.0.0.0 or ::. Listen returns when the
// port is open; OnListening runs when the other nodes can find this one. On a loopback address only
// nodes on this machine can.
func (n *Node) Listen(port int, address string) error {
	if port < 0 || port > 65535 {
		return fmt.Errorf("mesh: port %d: it must be a number from 0 to 65535", port)
	}
	ip, err := lookup(n.dialTimeout(), address)
	if err != nil {
		return fmt.Errorf("mesh: listen on %s: %w", address, err)
	}
	host := ""
	if !ip.IsUnspecified() {
		host = ip.String()
	}
	lc := net.ListenConfig{KeepAlive: -1, KeepAliveConfig: n.keepAlive(), Control: controlTimeout(n.peerTimeout())}
	l, err := handlers.ListenTCP(lc, "tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		return fmt.Errorf("mesh: %w", err)
	}
	if err := n.ListenOn(l); err != nil {
		l.Close()
		return err
	}
	return nil
}

// lookup returns an address of a name, IPv4 if it has one.
func lookup(timeout time.Duration, name string) (netip.Addr, error) {
	switch name {
	case "", "0.0.0.0", "::", "::0":
		return netip.IPv4Unspecified(), nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	all, err := net.DefaultResolver.LookupNetIP(ctx, "ip", name)
	if err != nil {
		return netip.Addr{}, err
	}
	best := all[0].Unmap()
	for _, ip := range all {
		if ip = ip.Unmap(); ip.Is4() && !best.Is4() {
			best = ip
		}
	}
	return best, nil
}

// ListenOn is Listen with an open listener. The node closes it.
func (n *Node) ListenOn(l net.Listener) error {
	if handlers.IsNil(l) {
		return errors.New("mesh: ListenOn: the listener is nil")
	}
	l = guarded.Listener(l)
	at, err := netip.ParseAddrPort(l.Addr().String())
	if err != nil {
		return fmt.Errorf("mesh: %s is no address that others could dial: %w", l.Addr(), err)
	}
	return n.join(at, l)
}

// Join joins the mesh without a listener: at is the address of a portluck port, which passes this
// node's connections to [Node.Serve]. Join needs Hello, a Key or an Identity, by which the port
// recognises them.
func (n *Node) Join(at netip.AddrPort) error {
	if !n.Hello && len(n.Key) == 0 && n.Identity == nil {
		return errors.New("mesh: a shared port needs Hello, Key or Identity, which tell the mesh from other protocols")
	}
	return n.join(at, nil)
}

// join starts everything.
func (n *Node) join(at netip.AddrPort, l net.Listener) error {
	name, err := cleanName(n.Name)
	if err != nil {
		return err
	}
	id, err := n.makeID()
	if err != nil {
		return err
	}
	sec, err := n.newSecurity(name, id)
	if err != nil {
		return err
	}
	at = netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
	ctx, cut := context.WithCancel(context.Background())
	seeking, stop := context.WithCancel(ctx)
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closing || n.stop != nil {
		cut()
		stop()
		if n.closing {
			return fmt.Errorf("mesh: %w", net.ErrClosed)
		}
		return fmt.Errorf("mesh: %w", errListening)
	}
	n.stop, n.cut = stop, cut
	n.name, n.id, n.local, n.listener, n.secure = name, id, at, l, sec
	n.peers, n.members, n.joining = map[string]*peer{}, map[string]*Conn{}, map[string]bool{}
	n.takeShared = func(nc net.Conn, release func()) { n.take(ctx, nc, release) }
	n.ready, n.errs, n.lost = make(chan struct{}), make(chan error, 64), make(chan struct{}, 1)
	n.makeClosedLocked()
	if l != nil {
		n.wg.Go(func() { n.accept(ctx, l) }) // ends when Close closes l
	}
	n.sought = make(chan struct{})
	errs, closed := n.errs, n.closed
	n.calls.Go(func() { n.reportErrors(errs, closed) }) // ends with the node
	n.calls.Go(func() { n.seek(ctx, seeking, 0) })      // ends with seeking
	return nil
}

// firstSeek is the pause after the first failure of discovery, which doubles at each.
const firstSeek = 100 * time.Millisecond

// seek runs discovery until seeking ends. A discovery that fails is tried again. If it ends its
// goroutine, another one goes on after pause.
func (n *Node) seek(ctx, seeking context.Context, pause time.Duration) {
	exited := false
	defer func() {
		if exited {
			pause = max(firstSeek, min(2*pause, n.retry()))
			n.calls.Go(func() { n.seek(ctx, seeking, pause) }) // ends with seeking
			return
		}
		n.quit()
		close(n.sought)
	}()
	d := n.Discovery
	if d == nil {
		d = &MDNS{}
	}
	self := Self{Name: n.name, ID: n.id, Fresh: n.ID == "" && n.Identity == nil, Addr: n.local, Lost: n.lost}
	events := Events{
		Ready:  n.announced,
		Found:  func(p Peer) { n.meet(ctx, p) },
		Failed: func(err error) { n.fail(fmt.Errorf("mesh: discovery: %w", err)) },
	}
	for ; ; pause = max(firstSeek, min(2*pause, n.retry())) {
		if !handlers.Pause(seeking.Done(), pause) {
			return
		}
		var err error
		p := handlers.GuardExit(func() { err = d.Discover(seeking, self, events) }, func(err error) {
			exited = seeking.Err() == nil
			events.Failed(err)
		})
		if seeking.Err() != nil {
			return
		}
		if err = cmp.Or(p, err); err != nil {
			events.Failed(err)
		}
	}
}

// announced runs OnListening, once.
func (n *Node) announced() {
	n.mu.Lock()
	first := !n.listening && !n.closing
	n.listening = true
	n.mu.Unlock()
	if !first {
		return
	}
	if n.OnListening == nil {
		close(n.ready)
		return
	}
	n.calls.Go(func() { // ends with OnListening
		defer close(n.ready)
		failed := func(err error) { n.fail(fmt.Errorf("mesh: OnListening: %w", err)) }
		if err := handlers.GuardExit(n.OnListening, failed); err != nil {
			failed(err)
		}
	})
}

// quit ends the waits for OnListening when discovery has ended without Ready.
func (n *Node) quit() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.listening {
		n.listening = true
		close(n.ready)
	}
}

// reportErrors calls OnError until the node is closed. If OnError ends its goroutine, another one
// goes on.
func (n *Node) reportErrors(errs <-chan error, closed <-chan struct{}) {
	goOn := func(err error) {
		handlers.LogPanic(n.log(), nil, err)
		n.calls.Go(func() { n.reportErrors(errs, closed) }) // ends with the node
	}
	for {
		select {
		case err := <-errs:
			handlers.LogPanic(n.log(), nil, handlers.GuardExit(func() { n.OnError(err) }, goOn))
		case <-closed:
			return
		}
	}
}

// Close leaves the mesh: it withdraws the announcement, sends what is queued, ends every connection
// and waits until all are closed; peers that do not end theirs are cut off after
// [Node.CloseTimeout]. It waits for the callbacks, OnClose last, but no longer than CloseTimeout. A
// callback may call Close, which then does not wait for that callback. Close may be called at any
// time, and more than once.
func (n *Node) Close() error {
	n.mu.Lock()
	n.makeClosedLocked()
	if n.closing {
		n.mu.Unlock()
		<-n.closed
		if !tasks.Inside() {
			<-n.over
		}
		return nil
	}
	n.closing = true
	stop, cut, l := n.stop, n.cut, n.listener
	n.mu.Unlock()
	if stop != nil {
		stop()
		select { // the goodbye precedes the end of the connections, so that nobody dials again
		case <-n.sought:
		case <-time.After(n.closeTimeout()):
		}
		cut()
		if l != nil {
			l.Close()
		}
		for _, c := range n.Connections() {
			c.Close()
		}
		n.wg.Wait()
	}
	close(n.closed)
	defer close(n.over)
	n.awaitCalls()
	if n.OnClose == nil {
		return nil
	}
	done := make(chan struct{})
	n.calls.Go(func() { // ends with OnClose
		defer close(done)
		logged := func(err error) { handlers.LogPanic(n.log(), nil, err) }
		logged(handlers.GuardExit(n.OnClose, logged))
	})
	<-done
	return nil
}

// awaitCalls waits for the callbacks, but for those that wait here.
func (n *Node) awaitCalls() {
	ctx, cancel := context.WithTimeout(context.Background(), n.closeTimeout())
	defer cancel()
	_ = n.calls.WaitOthers(ctx)
}

func (n *Node) makeClosedLocked() {
	if n.closed == nil {
		n.closed, n.over = make(chan struct{}), make(chan struct{})
	}
}

// accept takes connections until the listener is closed.
func (n *Node) accept(ctx context.Context, l net.Listener) {
	var pause handlers.Backoff
	for {
		nc, err := l.Accept()
		switch {
		case err == nil:
			pause = 0
			n.take(ctx, nc, nil)
			continue
		case errors.Is(err, net.ErrClosed) || ctx.Err() != nil:
			return
		}
		n.fail(fmt.Errorf("mesh: %w", err))
		if !handlers.Pause(ctx.Done(), pause.Next()) {
			return
		}
	}
}

// keepAlive returns the TCP keep-alive that notices a dead peer while nothing is sent to it. It is
// off without a PeerTimeout.
func (n *Node) keepAlive() net.KeepAliveConfig {
	t := n.peerTimeout()
	if t == setting.Never {
		return net.KeepAliveConfig{}
	}
	return net.KeepAliveConfig{Enable: true, Idle: t / 2, Interval: max(t/6, time.Second), Count: 3}
}
