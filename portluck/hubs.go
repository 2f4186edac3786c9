package portluck

import (
	"context"
	"log/slog"
	"sync"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/portluck/hub"
)

// hubs are the hubs of a port, each with its binding.
type hubs struct {
	mu       sync.Mutex
	bindings map[*Hub]*hub.Binding
}

// bind returns the binding of h, and makes it at the first call.
func (p *port) bind(h *Hub) *hub.Binding {
	p.hubs.mu.Lock()
	defer p.hubs.mu.Unlock()
	b := p.hubs.bindings[h]
	if b == nil {
		b = hub.Bind(h, p.log, p.log.enabled(slog.LevelDebug))
		if p.hubs.bindings == nil {
			p.hubs.bindings = map[*Hub]*hub.Binding{}
		}
		p.hubs.bindings[h] = b
	}
	return b
}

// hubOf returns the hub of the client of info: the one of HubOf, else of the server. The error is a
// panic of HubOf.
func (p *port) hubOf(info *Info) (h *Hub, err error) {
	if p.srv.HubOf == nil {
		return p.hub, nil
	}
	if err := handlers.Guard(func() { h = p.srv.HubOf(&Handshake{Info: info}) }); err != nil {
		p.log.panicked(info, err)
		return p.hub, handlers.ErrPanic
	}
	if h == nil {
		return p.hub, nil
	}
	return h, nil
}

// bindingOf returns the binding of the hub of the client of info.
func (p *port) bindingOf(info *Info) (*hub.Binding, error) {
	if p.srv.HubOf == nil {
		return p.clients, nil
	}
	h, err := p.hubOf(info)
	return p.bind(h), err
}

// wait waits for the callbacks of every hub.
func (s *hubs) wait(ctx context.Context) error {
	s.mu.Lock()
	var all []*hub.Binding
	for _, b := range s.bindings {
		all = append(all, b)
	}
	s.mu.Unlock()
	for _, b := range all {
		if err := b.Wait(ctx); err != nil {
			return err
		}
	}
	return nil
}

// len returns the number of clients of every hub.
func (s *hubs) len() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for h := range s.bindings {
		n += h.Len()
	}
	return n
}
