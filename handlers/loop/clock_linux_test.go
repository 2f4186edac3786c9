package loop

import (
	"net"
	"testing"
	"time"

	"github.com/portluck/portluck/handlers"
)

func init() {
	clocks["epoll"] = func(t *testing.T, l *Loop, f func(t *testing.T, k *clock)) {
		r := newRig(t, l, bench{name: "epoll", server: plainServer})
		client := func(t *testing.T) (handlers.Conn, net.Conn) {
			server, client := tcpPair(t)
			_ = client.SetDeadline(time.Now().Add(5 * time.Minute))
			return plainServer(t, server), client
		}
		finish := func(client net.Conn) { client.(*net.TCPConn).CloseWrite() }
		f(t, &clock{l, func(d time.Duration) { r.pass(t, d) }, client, finish, settled})
	}
}

// pass advances the time of the epoll driver. It first waits until no turn runs, except for turns
// that wait for a peer.
func (r *rig) pass(t *testing.T, d time.Duration) {
	t.Helper()
	p := &r.poller
	p.mu.Lock()
	all := p.slots.all()
	p.mu.Unlock()
	for _, c := range all {
		within(t, time.Minute, "its turn ends", func() bool {
			c.mu.Lock()
			defer c.mu.Unlock()
			return !c.busy || c.x != nil && c.x.waiting > 0
		})
	}
	p.ahead.Add(int64(d))
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.polling {
		p.set.wake() // its wait depends on the time
	}
}

// settled waits until the loop has noticed that a message has begun or, if begun is false, that
// none has.
func settled(t *testing.T, c Conn, begun bool) {
	t.Helper()
	p := c.(*epollConn)
	within(t, time.Minute, "a message has begun, or none", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return !p.busy && (p.x != nil && p.x.since != 0) == begun
	})
}
