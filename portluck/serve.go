package portluck

import (
	"context"
	"errors"
	"fmt"
	"net"
	"reflect"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/portluck/portluck/handlers"
)

// Listen listens on addr, which is host:port or unix:PATH. For the host localhost it returns two
// listeners, on 127.0.0.1 and ::1 with the same port, even for port 0; on a machine that has only
// one of these addresses it returns one. Without a host the listener accepts on all IPv4 and IPv6
// addresses. A Unix socket that no process listens on any more is replaced; see
// [handlers.ListenUnix].
func Listen(addr string) ([]net.Listener, error) {
	if path, ok := strings.CutPrefix(addr, "unix:"); ok {
		if path == "" {
			return nil, errors.New("listen unix: the path is empty")
		}
		l, err := handlers.ListenUnix(path)
		if err != nil {
			return nil, err
		}
		return []net.Listener{l}, nil
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	if host == "localhost" {
		return listenLocal(port)
	}
	l, err := listenTCP(host, port)
	if err != nil {
		return nil, err
	}
	return []net.Listener{l}, nil
}

// listenTCP listens without keep-alives of its own: Serve sets them once, on the listening socket.
func listenTCP(host, port string) (net.Listener, error) {
	return handlers.ListenTCP(net.ListenConfig{KeepAlive: -1}, "tcp", net.JoinHostPort(host, port))
}

// listenLocal listens on both loopback addresses, or on the one that the machine has.
func listenLocal(port string) ([]net.Listener, error) {
	for try := 0; ; try++ {
		l4, err4 := listenTCP("127.0.0.1", port)
		bound := port
		switch {
		case err4 == nil:
			_, bound, _ = net.SplitHostPort(l4.Addr().String())
		case isAddrInUse(err4) || isExhausted(err4):
			return nil, err4
		}
		l6, err6 := listenTCP("::1", bound)
		switch {
		case err4 == nil && err6 == nil:
			return []net.Listener{l4, l6}, nil
		case err6 == nil:
			return []net.Listener{l6}, nil // no IPv4 here
		case err4 != nil && isAddrInUse(err6):
			return nil, err6
		case err4 != nil:
			return nil, err4
		case !isAddrInUse(err6) && !isExhausted(err6):
			return []net.Listener{l4}, nil // no IPv6 here
		}
		l4.Close()
		if port != "0" || try == 16 || isExhausted(err6) {
			return nil, err6
		}
	}
}

// ListenAndServe listens on Addr and serves until Shutdown or Close, then returns
// [ErrServerClosed].
func (s *Server) ListenAndServe() error {
	if err := s.check(); err != nil {
		return err // before anything listens
	}
	addr := s.Addr
	if addr == "" {
		addr = DefaultAddr
	}
	if s.Packets != nil && strings.HasPrefix(addr, "unix:") {
		return fmt.Errorf("portluck: Packets needs an Addr with a port; %s has none", addr)
	}
	all, packets, err := s.listen(addr)
	if err != nil {
		return fmt.Errorf("portluck: %w", err)
	}
	errs := make(chan error, len(all)+len(packets))
	var wg sync.WaitGroup
	for _, l := range all {
		wg.Go(func() { errs <- s.Serve(l) }) // ends with the server
	}
	for _, pc := range packets {
		wg.Go(func() { errs <- s.ServePacket(pc, s.Packets) }) // ends with the server
	}
	err = <-errs
	if !errors.Is(err, ErrServerClosed) {
		s.Close()
	}
	wg.Wait()
	return err
}

// listen opens the listeners and sockets that ListenAndServe serves. For port 0 it looks for a
// port that is free over both TCP and UDP.
func (s *Server) listen(addr string) ([]net.Listener, []net.PacketConn, error) {
	for try := 0; ; try++ {
		all, err := Listen(addr)
		if err != nil || s.Packets == nil {
			return all, nil, err
		}
		packets, err := ListenPackets(all)
		if err == nil {
			return all, packets, nil
		}
		for _, l := range all {
			l.Close()
		}
		if _, port, _ := net.SplitHostPort(addr); port != "0" || try == 16 || !isAddrInUse(err) {
			return nil, nil, err
		}
	}
}

// Serve serves the connections of l until Shutdown or Close, then returns [ErrServerClosed]. If l
// fails, Serve returns that error. It closes l. Serve may be called for several listeners of any
// kind at once. The first call freezes the configuration.
//
// On Linux Serve closes a [net.TCPListener] at once, and accepts from a duplicate of its
// descriptor: call File and SyscallConn of l before Serve. A connection that comes through a
// listener of [net.Listen], which speaks multipath TCP, takes two more system calls than one that
// comes through a listener of [Listen].
func (s *Server) Serve(l net.Listener) error {
	if handlers.IsNil(l) {
		return errors.New("portluck: Serve: the listener is nil")
	}
	p, err := s.start()
	if err != nil {
		l.Close()
		return err
	}
	a, err := p.newAcceptor(l)
	if err != nil {
		if !errors.Is(err, errServedTwice) { // another Serve will close it
			l.Close()
		}
		return err
	}
	defer p.listens(l.Addr())()
	if _, foreign := a.src.(*listenerSource); !foreign {
		defer p.accepting.Done()
		return a.run()
	}
	ended := make(chan error, 1)
	go func() { // ends with the listener, whose Accept may call runtime.Goexit
		defer p.accepting.Done()
		panicked := func(err error) {
			p.log.panicked(nil, err)
			ended <- fmt.Errorf("portluck: accept: %w", err)
		}
		if err := handlers.GuardExit(func() { ended <- a.run() }, panicked); err != nil {
			panicked(err)
		}
	}()
	return <-ended
}

// start freezes the configuration at the first call.
func (s *Server) start() (*port, error) {
	s.once.Do(func() {
		s.serving.Store(true)
		s.port, s.err = newPort(s)
	})
	return s.port, s.err
}

// acceptor is the accept loop of one listener.
type acceptor struct {
	port  *port
	l     net.Listener
	close func() error // closes l, once
	src   source
}

// source accepts the connections of one listener.
type source interface {
	// accept waits for at least one connection and classifies those that it accepts.
	accept() error
	// makes accept return os.ErrDeadlineExceeded or net.ErrClosed; returns when ctx ends at the
	// latest
	stop(ctx context.Context)
	rest() // accepts the connections that are already pending
	close()
}

func (p *port) newAcceptor(l net.Listener) (*acceptor, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case slices.ContainsFunc(p.listeners, func(a *acceptor) bool { return isSame(a.l, l) }):
		return nil, errServedTwice
	case p.closing:
		return nil, ErrServerClosed
	}
	a := &acceptor{port: p, l: l, close: sync.OnceValue(l.Close)}
	a.src = newSource(p, l, a.close)
	p.listeners = append(p.listeners, a)
	p.accepting.Add()
	return a, nil
}

var errServedTwice = errors.New("portluck: Serve was called twice for one listener")

// isSame reports whether a and b are the same listener. A program's listener may have a type that
// is not comparable.
func isSame(a, b net.Listener) bool {
	return reflect.ValueOf(a).Comparable() && reflect.ValueOf(b).Comparable() && a == b
}

// run accepts until the listener is closed. It backs off while accepting fails.
func (a *acceptor) run() error {
	defer a.src.close()
	defer a.close()
	var pause handlers.Backoff
	failures := 0 // consecutive errors of single connections
	for {
		before := a.port.stats.accepted.Load()
		err := a.src.accept()
		if a.port.stats.accepted.Load() != before { // some were accepted before the error
			pause, failures = 0, 0
		}
		switch {
		case err == nil:
			pause, failures = 0, 0
			continue
		case a.port.isClosing():
			if a.port.draining.Load() {
				a.src.rest()
			}
			return ErrServerClosed
		case isClosed(err):
			return fmt.Errorf("portluck: %w", err)
		case isPeers(err) && failures < acceptBatch:
			failures++ // bounded, so that endless errors do not spin
			a.port.stats.acceptErrors.Add(1)
			continue
		case handlers.AcceptEnds(err):
			return fmt.Errorf("portluck: accept: %w", err)
		}
		a.port.stats.acceptErrors.Add(1)
		a.port.log.accept(err, pause.Next())
		handlers.Pause(a.port.closed, time.Duration(pause))
	}
}

// acceptBatch is how many connections are accepted between two checks whether the listener is
// closed, and how many consecutive connections may fail before accepting pauses.
const acceptBatch = 64

// isPeers reports whether err concerns only one connection, which accept removed from the queue:
// Linux returns that connection's pending network errors (accept(2), "Error handling"), and a
// firewall may forbid it.
func isPeers(err error) bool {
	errno, ok := errors.AsType[syscall.Errno](err)
	return ok && !handlers.AcceptEnds(err) && !isExhausted(errno) && !errno.Timeout()
}

// admit counts c and returns true. If there are too many connections it closes c and returns
// false.
func (p *port) admit(c *conn) bool {
	p.stats.accepted.Add(1)
	who := peer{} // a proxy's connections are counted for its clients later
	if c.unproxied = p.fromProxy(c.info.Remote.Addr()); !c.unproxied {
		who = peerOf(c.info.Remote)
	}
	if p.limits.admit(c, who) {
		return true
	}
	p.stats.refused.Add(1)
	c.closed = true
	c.sock.Close()
	p.failed(c.Info(), ErrLimit)
	return false
}
