//go:build !linux

package portluck

import (
	"net"

	"github.com/portluck/portluck/handlers"
)

// sniffer is empty on systems where connections cannot be peeked at. They are read instead, see
// [reader].
type sniffer struct{}

type place struct{}

func (*sniffer) start(*port) error  { return nil }
func (*sniffer) stop()              {}
func (*sniffer) drain(bool) []*conn { return nil }
func (*sniffer) decide(bool)        {}
func (*sniffer) len() int           { return 0 }

// newSource returns the source that accepts from l.
func newSource(p *port, l net.Listener, shut func() error) source {
	return &listenerSource{port: p, l: l, shut: shut}
}

func (*conn) sayFarewell() {}

// LazyNetConn is [handlers.Detacher.LazyNetConn].
func (c *conn) LazyNetConn() (net.Conn, error) { return c.NetConn() }

func learnPeer(net.Conn, *handlers.Info) {}

func hasUnread(net.Conn) bool { return false }
