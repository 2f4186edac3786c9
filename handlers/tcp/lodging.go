package tcp

import (
	"slices"
	"sync"

	"github.com/portluck/portluck/handlers/loop"
)

// home owns a loop that streams share. The loop runs only while somebody needs it, so that a
// program without streams has no goroutines.
type home struct {
	mu      sync.Mutex
	current *lodging   // nil while nobody needs a loop
	evicted []*lodging // former ones that still have users
}

// lodging is a loop of a home, with the number of its users.
type lodging struct {
	loop loop.Loop
	home *home
	n    int // users; guarded by home.mu
}

// clients is the home of all streams that the program opens.
var clients home

func setupClients(l *loop.Loop) {
	l.MaxQueue, l.CloseTimeout, l.Driver = defaultQueue, defaultCloseTimeout, driver
}

// driver is the driver of loops. Tests change it.
var driver = loop.Auto

// enter returns the current lodging for one more user, who calls leave later. If there is none it
// makes one and calls setup with its loop.
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

// join adds a user to a lodging that has one.
func (g *lodging) join() *lodging {
	g.home.mu.Lock()
	defer g.home.mu.Unlock()
	g.n++
	return g
}

// leave removes a user and closes the loop after the last one. It does nothing for nil, which a
// stream of a port has.
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

// evict returns all lodgings that have users, and makes enter start another one.
func (h *home) evict() []*lodging {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.current != nil {
		h.evicted = append(h.evicted, h.current)
		h.current = nil
	}
	return slices.Clone(h.evicted)
}
