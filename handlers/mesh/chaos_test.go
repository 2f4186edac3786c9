package mesh

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"testing"
	"time"
)

// Connections break at any time, on either side. In the end each node has one connection with each
// other node.
func TestChaos(t *testing.T) {
	t.Parallel()
	const size = 6
	tests := []struct {
		name  string
		hello bool
		ids   bool // known before the connection
		key   []byte
	}{
		{"upstream's wire", false, true, nil},
		{"hello", true, true, nil},
		{"without ids", true, false, nil},
		{"key", true, true, testKey},
		{"key without ids", true, false, testKey},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			l := &lan{}
			var list Static
			var listeners []net.Listener
			for range size {
				l, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					t.Fatal(err)
				}
				listeners = append(listeners, l)
				list = append(list, Peer{Addrs: []netip.AddrPort{netip.MustParseAddrPort(l.Addr().String())}})
			}
			var nodes []*watched
			want := make([]int, size)
			for i, ln := range listeners {
				n := &Node{Name: "x", ID: fmt.Sprintf("%02X", i), Hello: tt.hello, Key: tt.key, Discovery: l, Retry: 200 * time.Millisecond}
				if !tt.ids {
					n.Discovery = list
				}
				w := watchNode(t, n)
				n.OnConnection = nil // there will be many
				if err := n.ListenOn(ln); err != nil {
					t.Fatal(err)
				}
				nodes = append(nodes, w)
				want[i] = size - 1
			}
			for range 300 {
				if all := nodes[rand.N(size)].Connections(); len(all) > 0 {
					all[rand.N(len(all))].abort(errors.New("lost"))
				}
				time.Sleep(rand.N(4 * time.Millisecond))
			}
			stable(t, want, tt.hello, nodes...)
		})
	}
}

// stable waits until the nodes have had these numbers of connections for a while, one with each
// other node. With told the nodes know each other's ids.
func stable(t *testing.T, want []int, told bool, nodes ...*watched) {
	t.Helper()
	eventually(t, "there is one connection with each for a while", func() bool {
		wantConns(t, want, nodes...)
		before := fmt.Sprint(all(nodes))
		time.Sleep(500 * time.Millisecond)
		return fmt.Sprint(all(nodes)) == before && distinct(nodes, told)
	})
}

// all returns the connections of the nodes.
func all(nodes []*watched) (conns [][]*Conn) {
	for _, n := range nodes {
		conns = append(conns, n.Connections())
	}
	return conns
}

// distinct reports whether no node has two connections with one other node, as far as their ids are
// known.
func distinct(nodes []*watched, told bool) bool {
	for _, n := range nodes {
		seen := map[string]bool{}
		for _, c := range n.Connections() {
			if seen[c.Peer()] && (told || c.Dialled()) {
				return false
			}
			seen[c.Peer()] = true
		}
	}
	return true
}
