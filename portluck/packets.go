package portluck

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/loop"
)

// ListenPackets opens a UDP socket on the address and port of each TCP listener in listeners. It
// skips other listeners.
func ListenPackets(listeners []net.Listener) ([]net.PacketConn, error) {
	var all []net.PacketConn
	for _, l := range listeners {
		if handlers.IsNil(l) {
			continue
		}
		if _, ok := l.Addr().(*net.TCPAddr); !ok {
			continue
		}
		pc, err := net.ListenPacket("udp", l.Addr().String())
		if err != nil {
			for _, pc := range all {
				pc.Close()
			}
			return nil, err
		}
		all = append(all, pc)
	}
	return all, nil
}

// ServePacket serves the datagrams of pc with h, whose clients are clients of the hub, until
// Shutdown or Close, then returns [ErrServerClosed]. If pc fails, ServePacket returns that error.
// It closes pc. ServePacket may be called for several sockets at once, with one or several
// handlers, beside Serve or alone. The first call freezes the configuration.
func (s *Server) ServePacket(pc net.PacketConn, h handlers.PacketHandler) error {
	if handlers.IsNil(pc) || handlers.IsNil(h) {
		return errors.New("portluck: ServePacket: the socket or the handler is nil")
	}
	p, err := s.start()
	if err != nil {
		pc.Close()
		return err
	}
	if !p.packets.enter(h) {
		pc.Close()
		return ErrServerClosed
	}
	defer p.packets.leave()
	defer p.listens(pc.LocalAddr())()
	if panicked := handlers.Guard(func() { err = h.ServePacket(pc, packetPort{p}) }); panicked != nil {
		pc.Close()
		p.log.panicked(nil, panicked)
		err = panicked
	}
	switch {
	case p.isClosing():
		return ErrServerClosed
	case err == nil:
		err = net.ErrClosed // the program has shut h down
	}
	return fmt.Errorf("portluck: %w", err)
}

// packetPort is the [handlers.Port] of a handler of datagrams.
type packetPort struct{ *port }

// Connect also calls OnVerdict, which nothing has called for datagrams before.
func (p packetPort) Connect(info *Info, s handlers.Stream) (handlers.Client, error) {
	if info.Route == "" {
		own := *info
		own.Route = own.Protocol
		info = &own
	}
	if f := p.srv.OnVerdict; f != nil {
		broken := func(err error) { p.failed(info, err) }
		if err := handlers.GuardExit(func() { f(Verdict{Route: info.Route, Info: info}) }, broken); err != nil {
			broken(err)
			return nil, err
		}
	}
	return p.port.Connect(info, s)
}

// packets holds the handlers of datagrams.
type packets struct {
	serving loop.Tasks // goroutines in ServePacket

	mu       sync.Mutex
	closing  bool
	handlers map[handlers.PacketHandler]struct{}
}

// enter adds h. It returns false if the port is closing.
func (p *packets) enter(h handlers.PacketHandler) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closing {
		return false
	}
	if p.handlers == nil {
		p.handlers = map[handlers.PacketHandler]struct{}{}
	}
	p.handlers[h] = struct{}{}
	p.serving.Add()
	return true
}

func (p *packets) leave() { p.serving.Done() }

// refuse makes enter fail and returns the handlers added so far.
func (p *packets) refuse() []handlers.PacketHandler {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closing = true
	var all []handlers.PacketHandler
	for h := range p.handlers {
		all = append(all, h)
	}
	return all
}

// shutdown shuts all handlers down at once.
func (p *packets) shutdown(ctx context.Context) error {
	all := p.refuse()
	errs := make([]error, len(all))
	var wg loop.Tasks
	for i, h := range all {
		wg.Go(func() { // ends with ctx, if h respects it
			if err := handlers.Guard(func() { errs[i] = h.Shutdown(ctx) }); err != nil {
				errs[i] = err
			}
		})
	}
	if err := wg.Wait(ctx); err != nil {
		return err
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return p.serving.Wait(ctx)
}

func (p *packets) close() {
	for _, h := range p.refuse() {
		_ = handlers.Guard(func() { _ = h.Close() })
	}
}
