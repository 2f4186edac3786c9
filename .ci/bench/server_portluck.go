package main

import (
	"sync"

	"github.com/portluck/portluck/portluck"
)

// servePortluck has its defaults: the limits and timeouts of a server that is really used.
func servePortluck(e endpoint) error {
	hub := &portluck.Hub{}
	all := crowd{hub: hub}
	hub.OnMessage = func(m portluck.Message, w *portluck.Writer, c *portluck.Client) {
		switch m.Data[0] {
		case tagPublish:
			all.publish(m)
			return
		case tagJoin:
			all.join(c)
		}
		_ = w.Send(m) // fails when the client is gone
	}
	s := &portluck.Server{Hub: hub, TLSConfig: e.tls}
	return s.Serve(e.Listener)
}

// A crowd is the room of the fan-out rows. It is [portluck.Hub.Broadcast] when all but the publisher are members.
type crowd struct {
	hub *portluck.Hub

	mu      sync.RWMutex
	members []*portluck.Client
}

func (c *crowd) join(member *portluck.Client) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.members = append(c.members, member)
}

func (c *crowd) publish(m portluck.Message) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if len(c.members)+1 >= c.hub.Len() {
		c.hub.Broadcast(m)
		return
	}
	for _, member := range c.members {
		_ = member.Writer().Send(m) // fails when the member is gone
	}
}
