package mesh

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/net/ipv4"
)

// If two nodes have the same id, the first one keeps it. The other one gets an error, and gets the
// id when the first one has left.
func TestNameConflict(t *testing.T) {
	t.Parallel()
	// A busy machine may not answer a probe in time.
	for pause := time.Second; conflict(t, pause); pause *= 2 {
		if pause > patience/4 {
			t.Fatal("both listen")
		}
	}
}

// conflict starts a node, and then another with the same id, with this pause between its probes. It
// reports whether both listen.
func conflict(t *testing.T, pause time.Duration) (both bool) {
	t.Helper()
	name := testName(t)
	first := listen(t, &Node{Name: name, ID: "0A"})
	defer first.Close()
	second := watchNode(t, &Node{Name: name, ID: "0A", Retry: time.Second, Discovery: &MDNS{probePause: pause}})
	defer second.Close()
	if err := second.Listen(0, "127.0.0.1"); err != nil {
		t.Fatal(err)
	}
	if err := get(t, "error", second.errors); !errors.Is(err, ErrIDInUse) {
		t.Errorf("OnError got %v", err)
	}
	if second.Address() != nil {
		return true
	}
	first.Close()
	get(t, "listening", second.listening)
	return false
}

// If another node takes the id of a running node, that is an error too, and the running node goes
// on.
func TestNameConflictLater(t *testing.T) {
	t.Parallel()
	n := listen(t, &Node{Name: testName(t), ID: "0A"})
	list, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	group := netip.MustParseAddrPort("224.0.0.251:5353")
	var sockets []*net.UDPConn
	for _, ifi := range list {
		if ifi.Flags&net.FlagLoopback == 0 {
			continue
		}
		nc, err := net.ListenMulticastUDP("udp4", &ifi, net.UDPAddrFromAddrPort(group))
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		if err := ipv4.NewPacketConn(nc).SetMulticastInterface(&ifi); err != nil {
			t.Fatal(err)
		}
		sockets = append(sockets, nc)
	}
	name := dnsmessage.MustNewName("0A._" + n.Name + "._tcp.local.")
	m := dnsmessage.Message{
		Header: dnsmessage.Header{Response: true, Authoritative: true},
		Answers: []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: name, Type: dnsmessage.TypeSRV, Class: dnsmessage.ClassINET, TTL: 120},
			Body:   &dnsmessage.SRVResource{Port: 7, Target: dnsmessage.MustNewName("another.local.")},
		}},
	}
	p, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	for late := time.Now().Add(patience); ; {
		for _, nc := range sockets {
			if _, err := nc.WriteToUDPAddrPort(p, group); err != nil {
				t.Fatal(err)
			}
		}
		select {
		case err := <-n.errors:
			if !errors.Is(err, ErrIDInUse) || !strings.Contains(err.Error(), ": 0A") {
				t.Errorf("OnError got %v, want ErrIDInUse with the id", err)
			}
			if n.Address() == nil {
				t.Error("the node does not listen any more")
			}
			return
		case <-time.After(time.Second):
		}
		if time.Now().After(late) {
			t.Fatal("no error")
		}
	}
}

// A node that leaves says goodbye. Its peers forget it, and do not dial it again.
func TestGoodbye(t *testing.T) {
	t.Parallel()
	name := testName(t)
	a, b := listen(t, &Node{Name: name, ID: "0A"}), listen(t, &Node{Name: name, ID: "0B"})
	get(t, "connection", a.conns)
	b.Close()
	wantConns(t, []int{0}, a)
	eventually(t, "the peer is forgotten", func() bool {
		select {
		case <-a.errors: // it may be dialled until the goodbye has arrived
		default:
		}
		a.Node.mu.Lock()
		defer a.Node.mu.Unlock()
		return len(a.peers) == 0
	})
	select {
	case err := <-a.errors:
		t.Errorf("OnError got %v", err)
	default:
	}
}

func TestDiscoverNames(t *testing.T) {
	if err := (&MDNS{}).Discover(context.Background(), Self{Name: strings.Repeat("x", 300), ID: "0A"}, Events{}); err == nil {
		t.Error("no error")
	}
}
