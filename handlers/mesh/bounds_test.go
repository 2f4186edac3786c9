package mesh

import (
	"bufio"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/portluck/portluck/handlers/internal/boundtest"
)

// Zero is the default of a bound, and a negative value means no bound.
func TestBounds(t *testing.T) {
	const none = boundtest.None
	boundtest.Check(t, nil,
		boundtest.Field("DialTimeout", int64(5*time.Second), none, func(n *Node) int64 { return int64(n.dialTimeout()) }),
		boundtest.Field("HelloTimeout", int64(10*time.Second), none, func(n *Node) int64 { return int64(n.helloTimeout()) }),
		boundtest.Field("WriteTimeout", int64(10*time.Second), none, func(n *Node) int64 { return int64(n.writeTimeout()) }),
		boundtest.Field("CloseTimeout", int64(5*time.Second), none, func(n *Node) int64 { return int64(n.closeTimeout()) }),
		boundtest.Field("PeerTimeout", int64(30*time.Second), none, func(n *Node) int64 { return int64(n.peerTimeout()) }),
		boundtest.Field("Retry", int64(30*time.Second), none, func(n *Node) int64 { return int64(n.retry()) }),
		boundtest.Field("Forget", int64(5*time.Minute), none, func(n *Node) int64 { return int64(n.forget()) }),
		boundtest.Field("MaxConns", 1024, none, func(n *Node) int64 { return int64(n.maxConns()) }),
		boundtest.Field("Queue", 1<<20, none, func(n *Node) int64 { return int64(newConn(n, nil, "", false).out.limit) }),
	)
	boundtest.Check(t, nil, boundtest.Field("Limit", 1<<20, none, func(b *Backplane) int64 { return int64(b.limit()) }))
	boundtest.Check(t, nil, boundtest.Field("Rescan", int64(5*time.Second), none, func(m *MDNS) int64 { return int64(m.rescan()) }))
	boundtest.Check(t, []string{"Port"}, // TestDNS tests it
		boundtest.Field("Interval", int64(30*time.Second), none, func(d *DNS) int64 { return int64(d.interval()) }))
}

// Without a PeerTimeout nothing detects a dead peer: neither the node's keep-alives nor Go's.
func TestNoPeerTimeout(t *testing.T) {
	n := &Node{PeerTimeout: -1}
	if got := n.keepAlive(); got != (net.KeepAliveConfig{}) {
		t.Errorf("keepAlive() = %+v, want none", got)
	}
	if controlTimeout(n.peerTimeout()) != nil {
		t.Error("the system has a timeout")
	}
}

// Without a limit of messages, a length for which no machine has memory causes no panic.
func TestNoLimitOfMessages(t *testing.T) {
	f := frames{limit: (&Backplane{Limit: -1}).limit()}
	for _, length := range []string{"9223372036854775807", "18446744073709551615", "4611686018427387903", "5"} {
		if _, err := f.next(bufio.NewReader(strings.NewReader("MSG 1 auto " + length + " \"room\"\nabc"))); err == nil {
			t.Errorf("length %s: no error, but its message is not whole", length)
		}
	}
}
