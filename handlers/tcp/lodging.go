package tcp

import (
	"slices"
	"sync"

	"github.com/portluck/portluck/handlers/loop"
)

// home has the loop of some streams, as long as there are any: a program that has none has no
// goroutines either.
type home struct {
	mu      sync.Mutex
	current *lodging   // nil while nobody needs it
	evicted []*lodging // that somebody needs still
}

// lodging is the loop of a home.
type lodging struct {
	loop loop.Loop
	home *home
	n    int // who needs it; under home.mu
}

// clients is the home of the streams that the program opens.
var clients home

func setupClients(l *loop.Loop) {
	l.MaxQueue, l.CloseTimeout, l.Driver = defaultQueue, defaultCloseTimeout, driver
}

// driver is another one in tests.
var driver = loop.Auto

// enter returns the loop, which setup has set up; leave follows.
func (h *home) enter(setup func(l *loop.Loop)) *lodging {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.current == nil {
		h.current = &lodging{home: h}
		setup(&h.current.loop)
	}
	h.current.n++
	return h.current
}

// join is enter for who comes to somebody that is in already.
func (g *lodging) join() *lodging {
	g.home.mu.Lock()
	defer g.home.mu.Unlock()
	g.n++
	return g
}

// leave ends the loop if nobody else needs it. The lodging of a stream in a port is nil.
func (g *lodging) leave() {
	if g == nil {
		return
	}
	g.home.mu.Lock()
	g.n--
	last := g.n == 0
	if last && g.home.current == g {
		g.home.current = nil
	}
	if last {
		g.home.evicted = slices.DeleteFunc(g.home.evicted, func(e *lodging) bool { return e == g })
	}
	g.home.mu.Unlock()
	if last {
		g.loop.Close()
	}
}

// evict returns the loops that somebody needs. Nobody enters them any more.
func (h *home) evict() []*lodging {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.current != nil {
		h.evicted = append(h.evicted, h.current)
		h.current = nil
	}
	return slices.Clone(h.evicted)
}
