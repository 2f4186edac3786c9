package portluck

import "sync/atomic"

// heading shows who serves most of the new connections: the loop, or goroutines of their own.
// Several goroutines may use it at once. The loop does at first.
type heading struct{ n atomic.Int32 }

// headingMost is how many connections in a row change a heading at most.
const headingMost = 32

// add counts a connection. It does not matter if a few are lost.
func (h *heading) add(loop bool) {
	switch n := h.n.Load(); {
	case loop && n < headingMost:
		h.n.Store(n + 1)
	case !loop && n > -headingMost:
		h.n.Store(n - 1)
	}
}

// isLoop reports whether the loop serves most new connections. While that is not clear it returns
// was, the last answer.
func (h *heading) isLoop(was bool) bool {
	switch n := h.n.Load(); n {
	case headingMost, -headingMost:
		return n > 0
	}
	return was
}
