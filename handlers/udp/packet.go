package udp

import (
	"sync"

	"github.com/portluck/portluck/handlers"
)

// packet is a datagram that waits for a callback.
type packet struct {
	next *packet
	data []byte
}

// The sizes of pooled buffers.
const (
	smallPacket = 256
	largePacket = 2048
)

var (
	smallPackets = sync.Pool{New: func() any { return &packet{data: make([]byte, 0, smallPacket)} }}
	largePackets = sync.Pool{New: func() any { return &packet{data: make([]byte, 0, largePacket)} }}
)

// newPacket returns a packet with a copy of p.
func newPacket(p []byte) *packet {
	var k *packet
	switch {
	case len(p) <= smallPacket:
		k = smallPackets.Get().(*packet)
	case len(p) <= largePacket:
		k = largePackets.Get().(*packet)
	default:
		k = &packet{data: make([]byte, 0, len(p))}
	}
	k.data = append(k.data[:0], p...)
	return k
}

// recycle returns the buffer to its pool.
func (p *packet) recycle() {
	p.next = nil
	switch cap(p.data) {
	case smallPacket:
		smallPackets.Put(p)
	case largePacket:
		largePackets.Put(p)
	}
}

// freeLocked frees a packet that no longer waits.
func (s *Server) freeLocked(p *packet) {
	s.backlog -= cap(p.data)
	p.recycle()
}

// waitLocked queues a datagram for the callbacks of c, or drops it if too many wait.
func (s *Server) waitLocked(c *client, data []byte) {
	if int(c.waiting) >= s.maxWaiting() || s.backlog > 0 && s.backlog+len(data) > s.maxBacklog() {
		s.counters.overflowed.Add(1)
		return
	}
	p := newPacket(data)
	s.backlog += cap(p.data)
	c.appendLocked(p)
	c.path.socket.readyLocked(c)
}

func (c *client) appendLocked(p *packet) {
	if c.last != nil {
		c.last.next = p
	} else {
		c.first = p
	}
	c.last = p
	c.waiting++
}

// takeLocked removes and returns the packet that has waited longest. There must be one.
func (c *client) takeLocked() *packet {
	p := c.first
	if c.first = p.next; c.first == nil {
		c.last = nil
	}
	p.next = nil
	c.waiting--
	return p
}

// message returns the message in a datagram.
func (s *Server) message(p *packet) handlers.Message {
	data := p.data
	if s.Lines {
		data = trimLine(data)
	}
	return handlers.Message{Data: data}
}

// trimLine removes one line end from the end of p.
func trimLine(p []byte) []byte {
	if n := len(p); n > 0 && p[n-1] == '\n' {
		p = p[:n-1]
		if n := len(p); n > 0 && p[n-1] == '\r' {
			p = p[:n-1]
		}
	}
	return p
}
