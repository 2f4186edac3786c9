package tcp

import (
	"slices"
	"sync"

	"github.com/portluck/portluck/handlers/loop"
)

// sharedLoops owns a loop that streams share. The loop runs only while somebody needs it, so that a
// program without streams has no goroutines.
type sharedLoops struct {
	mu      sync.Mutex
	current *sharedLoop   // nil while nobody needs a loop
	retired []*sharedLoop // former ones that still have users
}

// sharedLoop is a loop with the number of its users.
type sharedLoop struct {
	loop  loop.Loop
	owner *sharedLoops
	n     int // users; guarded by owner.mu
}

// clients owns the loop of all streams that the program opens.
var clients sharedLoops

func setupClients(l *loop.Loop) {
	l.MaxQueue, l.CloseTimeout, l.Driver = defaultQueue, defaultCloseTimeout, driver
}

// driver is the driver of loops. Tests change it.
var driver = loop.Auto

// acquire returns the current loop for one more user, who calls release later. If there is none it
// makes one and calls setup with it.
func (h *sharedLoops) acquire(setup func(l *loop.Loop)) *sharedLoop {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.current == nil {
		h.current = &sharedLoop{owner: h}
		setup(&h.current.loop)
	}
	h.current.n++
	return h.current
}

// retain adds a user to a loop that has one.
func (g *sharedLoop) retain() *sharedLoop {
	g.owner.mu.Lock()
	defer g.owner.mu.Unlock()
	g.n++
	return g
}

// release removes a user and closes the loop after the last one. It does nothing for nil, which a
// stream of a port has.
func (g *sharedLoop) release() {
	if g == nil {
		return
	}
	g.owner.mu.Lock()
	g.n--
	last := g.n == 0
	if last && g.owner.current == g {
		g.owner.current = nil
	}
	if last {
		g.owner.retired = slices.DeleteFunc(g.owner.retired, func(e *sharedLoop) bool { return e == g })
	}
	g.owner.mu.Unlock()
	if last {
		g.loop.Close()
	}
}

// retire returns all loops that have users, and makes acquire start another one.
func (h *sharedLoops) retire() []*sharedLoop {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.current != nil {
		h.retired = append(h.retired, h.current)
		h.current = nil
	}
	return slices.Clone(h.retired)
}
