package portluck

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/portluck/portluck/handlers"
)

// Shutdown ends the server in good order: it stops accepting, decides or closes the connections
// whose protocol is not known yet, serves all that is queued, finishes the HTTP requests, sends
// close 1001 to WebSocket clients and FIN to raw ones, disconnects the clients of datagrams, and
// returns nil when the last callback has returned. When ctx ends first it closes what is
// left at once and returns the error of ctx. The funcs of [Server.HandleFunc] are waited for. What
// waits in a listener of [Server.Listen] has until SniffTimeout to be accepted; the connections
// that were accepted are the program's, and are left alone. A callback that calls Shutdown waits
// for itself, and so gets that error.
func (s *Server) Shutdown(ctx context.Context) error {
	p, err := s.start()
	if err != nil {
		return err
	}
	done := make(chan struct{})
	go func() { // ends soon after ctx, or when the program's code that holds it up returns
		defer close(done)
		err = p.shutdown(ctx)
	}()
	select {
	case <-done:
		return err
	case <-ctx.Done():
	}
	if !p.ended(done) {
		return context.Cause(ctx)
	}
	return err
}

func (p *port) shutdown(ctx context.Context) error {
	p.stopAccepting(ctx, true)
	p.decideRest(ctx)
	p.root.Close()
	_ = p.subs.Wait(ctx)
	p.drainListens(ctx)
	p.closeListens()
	var wg sync.WaitGroup
	var httpErr, packetErr error
	wg.Go(func() { httpErr = p.http.Shutdown(ctx) })
	wg.Go(func() { packetErr = p.packets.shutdown(ctx) })
	loopErr := p.loop.Shutdown(ctx, farewellWindow(p.loop.Len()))
	wg.Wait()
	err := errors.Join(httpErr, packetErr, loopErr, p.workers.Wait(ctx), p.work.Wait(ctx), p.funcs.Wait(ctx),
		p.loop.Shutdown(ctx, 0), p.clients.Wait(ctx)) // the loop has refused what came in between
	if err != nil || ctx.Err() != nil {
		p.hardClose()
		return cmp.Or(context.Cause(ctx), err)
	}
	p.sniff.stop()
	return nil
}

// ShuttingDown returns a channel that is closed when Shutdown or Close begins. The program's own
// work on the port's connections, such as a func of [Server.HandleFunc] that goes on until somebody
// ends it, is to end then. Any goroutine may call it at any time, also before Serve.
func (s *Server) ShuttingDown() <-chan struct{} {
	s.closingOnce.Do(func() { s.closing = make(chan struct{}) })
	return s.closing
}

// Close closes the listeners and every connection at once, but for those that a listener of
// [Server.Listen] has accepted. It does not wait for callbacks that are running.
func (s *Server) Close() error {
	p, err := s.start()
	if err != nil {
		return err
	}
	done := make(chan struct{})
	go func() { // ends soon, or when the program's code that holds it up returns
		defer close(done)
		ctx, cancel := context.WithTimeout(context.Background(), hardTime/2)
		defer cancel()
		p.stopAccepting(ctx, false)
		p.hardClose()
	}()
	p.ended(done)
	return nil
}

// ended waits for the end of a shutdown whose time is up. It returns false if code of the program
// holds that up: a matcher, which may be the caller, as matchers run in goroutines that a shutdown
// waits for; or for hardTime anything, such as the Close of a net.Conn.
func (p *port) ended(done <-chan struct{}) bool {
	look := time.NewTicker(matcherPatience)
	defer look.Stop()
	late := time.NewTimer(hardTime)
	defer late.Stop()
	for judged := p.judged.Load(); ; judged = p.judged.Load() {
		select {
		case <-done:
			return true
		case <-late.C:
			return false
		case <-look.C:
		}
		if p.judging.Load() > 0 && p.judged.Load() == judged {
			return false
		}
	}
}

// matcherPatience is how long a matcher may take before a shutdown no longer waits for it.
const matcherPatience = 10 * time.Millisecond

// hardTime bounds how long it takes to close all that is left.
const hardTime = time.Second

// drainListens waits until the program has accepted what waits in the listeners of Listen, or
// SniffTimeout has closed it.
func (p *port) drainListens(ctx context.Context) {
	for _, l := range p.srv.listens {
		for l.len() > 0 && ctx.Err() == nil {
			pause(ctx, settleTick)
		}
	}
}

// closeListens ends the listeners of Listen.
func (p *port) closeListens() {
	for _, l := range p.srv.listens {
		_ = l.Close()
	}
}

func (p *port) hardClose() {
	p.closeListens()
	p.giveUp(handlers.ErrShutdown)
	p.readers.stop()
	for _, c := range p.sniff.drain(true) {
		p.dropped(c)
	}
	p.root.Close()
	for _, c := range p.limits.all() {
		c.kill()
	}
	_ = p.http.Close()
	p.packets.close()
	p.loop.Close()
	p.sniff.stop()
}

// stopAccepting closes the listeners, with rest after taking in what the kernel has accepted. It
// waits until nobody accepts any more, or ctx ends: a listener of the program's may not notice that
// it is closed.
func (p *port) stopAccepting(ctx context.Context, rest bool) {
	p.draining.Store(rest)
	p.mu.Lock()
	if !p.closing {
		p.closing = true
		close(p.srv.closing)
	}
	all := slices.Clone(p.listeners)
	p.mu.Unlock()
	for _, a := range all {
		p.accepting.Go(func() { a.src.stop(ctx) }) // ends with ctx, or when the listener is closed
	}
	_ = p.accepting.Wait(ctx)
}

// decideRest gives the undecided connections a moment to show their protocol, also inside TLS once
// they have shaken hands, and closes those that do not. Those whose route is chosen already have as
// long as a handshake may take.
func (p *port) decideRest(ctx context.Context) {
	p.readers.hurry(settleQuiet)
	if p.sniff.len() > 0 {
		pause(ctx, settleQuiet)
		p.sniff.decide(false)
	}
	settle, cancel := context.WithTimeout(ctx, p.srv.settleTimeout())
	defer cancel()
	for p.sniff.len() > 0 && settle.Err() == nil {
		pause(settle, settleTick)
	}
	p.sniff.decide(true)
	p.work.Settle(ctx, p.srv.settleTimeout()) // handshakes, and what is being read
	p.giveUp(handlers.ErrShutdown)
	p.readers.stop()
}

// settleQuiet is how long the undecided have left at a shutdown.
const settleQuiet = 50 * time.Millisecond

// settleTick is how often a shutdown looks whether it can go on.
const settleTick = 2 * time.Millisecond

// pause waits for d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// dropped closes an undecided connection at a shutdown. A client that was announced gets its
// OnDisconnect.
func (p *port) dropped(c *conn) {
	err := error(nil)
	if c.seen > 0 || c.pending != nil {
		err = handlers.ErrShutdown
	}
	c.Close()
	switch {
	case c.pending != nil:
		c.pending.Expire(err)
	case err != nil:
		p.failed(c.Info(), err)
	}
}

func (p *port) isClosing() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.closing
}

// sleep waits for d, or until the server is closing.
func (p *port) sleep(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-p.closed:
	}
}

func isAddrInUse(err error) bool { return errors.Is(err, syscall.EADDRINUSE) }

// isExhausted is for a lack that passes.
func isExhausted(err error) bool {
	for _, e := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func addrOf(a net.Addr) netip.AddrPort {
	if t, ok := a.(*net.TCPAddr); ok {
		ap := t.AddrPort()
		return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	}
	return netip.AddrPort{}
}
