package portluck

import (
	"crypto/tls"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/httpd"
	"github.com/portluck/portluck/handlers/loop"
)

// parked is an HTTP connection whose client is idle. The loop has it as a bare descriptor, of which
// parked is the codec and gets the events.
type parked struct {
	port   *port
	idle   *httpd.Idle
	remote netip.AddrPort
	shared *Info // the rest; many connections have the same
	awake  bool  // resume calls idle.Done
	// stream gets the answers of the lane; nil without a lane.
	stream laneStream
}

// parkings is what a port knows of its parked connections.
type parkings struct {
	last atomic.Pointer[Info] // the shared of the one that was parked last
	mu   sync.RWMutex         // held while a connection is being parked
	over bool                 // a shutdown has begun
}

// parker returns what keeps idle HTTP connections, or nil if the loop would spend a goroutine on
// each.
func (p *port) parker() httpd.Parker {
	if p.loop.Driver == loop.Goroutines {
		return nil
	}
	return p
}

// CanPark is [httpd.Parker.CanPark].
func (p *port) CanPark(c handlers.Conn) bool {
	if pc, ok := c.(*conn); ok && pc.isLazy() {
		return true
	}
	return isBare(handlers.AsDetacher(c).Socket().Conn)
}

// isLazy reports whether the connection is in use as a [lazyConn].
func (c *conn) isLazy() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, lazy := c.sock.(lazySocket)
	return lazy
}

// isBare reports whether the loop drives nc as a descriptor.
func isBare(nc net.Conn) bool {
	if secure, ok := nc.(*tls.Conn); ok {
		below, ok := secure.NetConn().(*handlers.Switch)
		if !ok {
			return false
		}
		nc = below.Current()
		if left, ok := nc.(hijacked); ok {
			nc = left.NetConn()
		}
	}
	switch nc.(type) {
	case *net.TCPConn, *net.UnixConn:
		return true
	}
	return false
}

// Park is [httpd.Parker.Park].
func (p *port) Park(c handlers.Conn, idle *httpd.Idle) bool {
	p.parking.mu.RLock()
	if p.parking.over {
		p.parking.mu.RUnlock()
		return false
	}
	if _, err := c.NetConn(); err != nil || !p.CanPark(c) { // closed, or reset by the client meanwhile
		p.parking.mu.RUnlock()
		c.Close()
		idle.Done()
		return true
	}
	k := &parked{port: p, idle: idle, remote: c.Info().Remote, shared: p.sharedInfo(c.Info())}
	lc := p.loop.New(c, handlers.Attachment{Codec: k})
	k.stream = laneOf(c.Info(), lc)
	run := lc.Start(k)
	p.parking.mu.RUnlock()
	if run != nil {
		run()
	}
	return true
}

// endParking makes Park return false. The connections that are parked already are the loop's to
// end.
func (p *port) endParking() {
	p.parking.mu.Lock()
	defer p.parking.mu.Unlock()
	p.parking.over = true
}

// sharedInfo returns info without Remote. Connections that follow each other mostly share one.
func (p *port) sharedInfo(info *Info) *Info {
	rest := *info
	rest.Remote = netip.AddrPort{}
	if last := p.parking.last.Load(); last != nil && *last == rest {
		return last
	}
	p.parking.last.Store(&rest)
	return &rest
}

// Decode is [handlers.Codec.Decode]. The next request that is not the lane's takes the connection
// out of the loop.
func (k *parked) Decode(in []byte, m *handlers.Messages) (int, error) {
	n, open := k.serve(in, m)
	if !open {
		return n, io.EOF
	}
	if first, begun := k.idle.Next(in[n:]); begun {
		k.wake(first, m)
		return len(in), nil
	}
	if m.EOF {
		return len(in), io.EOF
	}
	return len(in), nil
}

// wake chooses who serves the next request, which begins with first.
func (k *parked) wake(first []byte, m *handlers.Messages) {
	k.awake = true
	m.Hijack = func(nc net.Conn) { k.resume(nc, first) }
}

// resume gives the connection back to net/http. nc is nil if it has ended meanwhile.
func (k *parked) resume(nc net.Conn, first []byte) {
	defer k.idle.Done()
	left, ok := nc.(hijacked)
	if !ok {
		return
	}
	c := &conn{port: k.port, info: *k.shared, route: k.port.named.request, sock: &made{left.NetConn()}}
	c.info.Remote = k.remote
	if k.port.regain(c, left) {
		k.idle.Resume(c, k.port, first)
	}
}

// AppendWrite is [handlers.Codec.AppendWrite].
func (*parked) AppendWrite(dst, p []byte, _ handlers.Kind) []byte { return append(dst, p...) }

// AppendMessage is [handlers.Codec.AppendMessage].
func (*parked) AppendMessage(dst, _ []byte, _ handlers.Kind) []byte { return dst }

// AppendClose is [handlers.Codec.AppendClose]. The connection is being closed.
func (k *parked) AppendClose(dst []byte, _ error) []byte {
	k.idle.Done()
	return dst
}

// Connect is [loop.Events.Connect]. An idle connection is no client.
func (*parked) Connect(*handlers.Info) error { return nil }

// Message is [loop.Events.Message].
func (*parked) Message(handlers.Message) error { return nil }

// Disconnect is [loop.Events.Disconnect].
func (k *parked) Disconnect(error) {
	if !k.awake {
		k.idle.Done()
	}
}
