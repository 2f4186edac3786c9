package portluck

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/portluck/portluck/handlers"
)

// Shutdown shuts the server down gracefully. It stops accepting, classifies or closes the
// undecided connections, serves all that is queued, finishes the HTTP requests, sends close 1001
// to WebSocket clients and FIN to raw ones, disconnects the clients of datagrams, and waits for
// the funcs of [Server.HandleFunc]. It returns nil when the last callback has returned. If ctx
// ends first, Shutdown closes what is left at once and returns the error of ctx.
//
// Connections that wait in a listener of [Server.Listen] may still be accepted until SniffTimeout.
// Accepted ones belong to the program and are left alone. A callback that calls Shutdown waits for
// itself until ctx ends, and so gets the error of ctx.
func (s *Server) Shutdown(ctx context.Context) error {
	p, err := s.start()
	if err != nil {
		return err
	}
	done := make(chan struct{})
	go func() { // ends soon after ctx, unless the program's code blocks it
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
	p.endParking()
	var wg sync.WaitGroup
	var httpErr, packetErr error
	wg.Go(func() { httpErr = p.http.Shutdown(ctx) })
	wg.Go(func() { packetErr = p.packets.shutdown(ctx) })
	loopErr := p.loop.Shutdown(ctx, farewellWindow(p.loop.Len()-p.http.Parked()))
	wg.Wait()
	err := errors.Join(httpErr, packetErr, loopErr, p.workers.Wait(ctx), p.work.Wait(ctx), p.funcs.Wait(ctx),
		// once more, for connections attached meanwhile
		p.loop.Shutdown(ctx, 0), p.hubs.wait(ctx))
	if err != nil || ctx.Err() != nil {
		p.hardClose()
		return cmp.Or(context.Cause(ctx), err)
	}
	p.sniff.stop()
	return nil
}

// ShuttingDown returns a channel that is closed when Shutdown or Close begins. Work of the program
// on the port's connections that has no end of its own, such as a func of [Server.HandleFunc],
// should end then. Any goroutine may call ShuttingDown at any time, even before Serve.
func (s *Server) ShuttingDown() <-chan struct{} {
	s.closingOnce.Do(func() { s.closing = make(chan struct{}) })
	return s.closing
}

// Close closes the listeners and every connection at once, except those that the program has
// accepted from a listener of [Server.Listen]. It does not wait for running callbacks.
func (s *Server) Close() error {
	p, err := s.start()
	if err != nil {
		return err
	}
	done := make(chan struct{})
	go func() { // ends soon, unless the program's code blocks it
		defer close(done)
		ctx, cancel := context.WithTimeout(context.Background(), hardTime/2)
		defer cancel()
		p.stopAccepting(ctx, false)
		p.hardClose()
	}()
	p.ended(done)
	return nil
}

// ended waits until done is closed, after the time of a shutdown is up. It returns false if code
// of the program blocks that: a matcher that does not return within matcherPatience, which may be
// the caller itself, or for hardTime anything else, such as the Close of a net.Conn.
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

// matcherPatience is how long a shutdown whose time is up waits for a running matcher.
const matcherPatience = 10 * time.Millisecond

// hardTime bounds how long closing everything that is left may take.
const hardTime = time.Second

// drainListens waits until the connections in the listeners of Listen have been accepted, or
// closed after SniffTimeout, or ctx ends.
func (p *port) drainListens(ctx context.Context) {
	for _, l := range p.srv.listens {
		for l.len() > 0 && ctx.Err() == nil {
			handlers.Pause(ctx.Done(), settleTick)
		}
	}
}

// closeListens closes the listeners of Listen.
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

// stopAccepting closes the listeners. With rest it first accepts the connections that the kernel
// holds. It waits until accepting has ended or ctx is done: a listener of the program may not
// notice that it is closed.
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

// decideRest gives the undecided connections a moment to show their protocol, also inside TLS
// after the handshake, and closes those that do not. Connections whose route is chosen get as long
// as a handshake may take.
func (p *port) decideRest(ctx context.Context) {
	p.readers.hurry(settleQuiet)
	p.loop.Halt(isUnknown)
	if p.sniff.len() > 0 {
		handlers.Pause(ctx.Done(), settleQuiet)
		p.sniff.decide(false)
	}
	settle, cancel := context.WithTimeout(ctx, p.srv.settleTimeout())
	defer cancel()
	for (p.sniff.len() > 0 || p.unknown.Load() > 0) && settle.Err() == nil {
		handlers.Pause(settle.Done(), settleTick)
	}
	p.sniff.decide(true)
	p.work.Settle(ctx, p.srv.settleTimeout()) // handshakes, and connections classified by reading
	p.giveUp(handlers.ErrShutdown)
	p.readers.stop()
}

// settleQuiet is how long undecided connections have left at a shutdown.
const settleQuiet = 50 * time.Millisecond

// settleTick is how often a shutdown checks whether it can go on.
const settleTick = 2 * time.Millisecond

// dropped closes an undecided connection at a shutdown.
func (p *port) dropped(c *conn) {
	c.Close()
	if c.seen > 0 {
		p.failed(c.Info(), handlers.ErrShutdown)
	}
}

func (p *port) isClosing() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.closing
}

func isAddrInUse(err error) bool { return errors.Is(err, syscall.EADDRINUSE) }

// isExhausted reports whether err means that the system has run out of a resource, which may pass.
func isExhausted(err error) bool {
	for _, e := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
