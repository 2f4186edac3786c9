package mesh

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/portluck/portluck/handlers"
)

func TestReconnect(t *testing.T) {
	t.Parallel()
	discoveries(t, func(t *testing.T, node func(string) *Node) {
		a, b := listen(t, node("")), listen(t, node(""))
		for range 3 {
			ca, cb := get(t, "connection", a.conns), get(t, "connection", b.conns)
			say(t, ca, cb, "hello")
			cb.abort(errors.New("lost"))
			get(t, "done", ca.Done())
		}
		wantConns(t, []int{1, 1}, a, b)
	})
}

// If a peer cannot be reached, the pauses grow and each error is reported. After Forget the node
// does not dial it any more.
func TestRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var at []time.Duration
		begin := time.Now()
		boom := errors.New("boom")
		n := &Node{
			Name: "x", ID: "0A", Hello: true, Retry: 2 * time.Second, Forget: time.Minute,
			Discovery: &told{peers: []Peer{{ID: "0B", Addrs: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:1")}}}},
			Dial: func(context.Context, netip.AddrPort) (net.Conn, error) {
				at = append(at, time.Since(begin))
				return nil, boom
			},
		}
		failed := 0
		n.OnError = func(err error) {
			if errors.Is(err, boom) {
				failed++
			}
		}
		if err := n.Join(netip.MustParseAddrPort("192.0.2.2:1")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if len(at) < 20 || len(at) > 80 || failed != len(at) {
			t.Errorf("%d attempts, %d errors", len(at), failed)
		}
		if at[0] != 0 || at[1] > 200*time.Millisecond || at[len(at)-1] < 50*time.Second || at[len(at)-1] > 65*time.Second {
			t.Errorf("attempts at %v", at)
		}
		n.Close()
	})
}

// told is a discovery that finds these peers.
type told struct{ peers []Peer }

func (d *told) Discover(ctx context.Context, _ Self, e Events) error {
	e.Ready()
	for _, p := range d.peers {
		e.Found(p)
	}
	<-ctx.Done()
	return nil
}

// A panic of the program costs one connection.
func TestPanic(t *testing.T) {
	l := &lan{}
	a := &Node{Name: "x", ID: "0A", Discovery: l, OnConnection: func(*Conn) { panic("boom") }}
	a.OnListening = func() { panic("boom") }
	a.OnClose = func() { panic("boom") }
	if err := a.Listen(0, "127.0.0.1"); err != nil {
		t.Fatal(err)
	}
	b := listen(t, &Node{Name: "x", ID: "0B", Discovery: l})
	get(t, "done", get(t, "connection", b.conns).Done())
	get(t, "done", get(t, "next connection", b.conns).Done())
	a.Close()
}

// When a connection is closed, what is queued still arrives, and what was read ahead can be read.
func TestCloseKeepsWhatWasWritten(t *testing.T) {
	for _, secure := range []bool{false, true} {
		l := &lan{}
		na, nb := &Node{Name: "x", ID: "0A", Discovery: l}, &Node{Name: "x", ID: "0B", Discovery: l}
		if secure {
			na.Key, nb.Key = testKey, testKey
		}
		a, b := listen(t, na), listen(t, nb)
		ca, cb := get(t, "connection", a.conns), get(t, "connection", b.conns)
		data := bytes.Repeat([]byte("0123456789abcdef"), 1<<16) // 1 MiB: not all of it is under way
		if err := ca.Send(data); err != nil {
			t.Fatal(err)
		}
		closed := make(chan error)
		go func() { closed <- a.Close() }() // returns when cb has read
		got, err := io.ReadAll(cb)
		if !bytes.Equal(got, data) || err != nil {
			t.Errorf("secure %t: got %d bytes, %v, want %d", secure, len(got), err, len(data))
		}
		get(t, "close", closed)
		if _, err := ca.Write([]byte("x")); err == nil {
			t.Error("Write after Close: no error")
		}
		if ca.Err() != nil || cb.Err() != nil {
			t.Errorf("Err() = %v, %v", ca.Err(), cb.Err())
		}
		b.Close()
	}
}

// Broadcast disconnects a peer that does not read, and Close does not wait for it for ever.
func TestSlowPeer(t *testing.T) {
	t.Parallel()
	l := &lan{}
	a := listen(t, &Node{Name: "x", ID: "0A", Discovery: l, Queue: 1 << 20, CloseTimeout: 50 * time.Millisecond})
	b := listen(t, &Node{Name: "x", ID: "0B", Discovery: l})
	ca := get(t, "connection", a.conns)
	get(t, "connection", b.conns) // nobody reads from it
	chunk := make([]byte, 256<<10)
	for range 1000 {
		if a.Broadcast(chunk) == 0 {
			break
		}
	}
	get(t, "done", ca.Done())
	if err := ca.Err(); !errors.Is(err, handlers.ErrSlow) {
		t.Errorf("Err() = %v", err)
	}
	if err := get(t, "error", a.errors); !errors.Is(err, handlers.ErrSlow) {
		t.Errorf("OnError got %v", err)
	}
	cb := get(t, "connection", a.conns)
	_ = cb.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
	for range 1000 {
		if _, err := cb.Write(chunk); err != nil {
			break
		}
	}
	a.Close()
}

func TestDeadlines(t *testing.T) {
	l := &lan{}
	a, b := listen(t, &Node{Name: "x", ID: "0A", Discovery: l}), listen(t, &Node{Name: "x", ID: "0B", Discovery: l})
	ca, cb := get(t, "connection", a.conns), get(t, "connection", b.conns)
	_ = ca.SetDeadline(time.Now().Add(-time.Second))
	var timeout net.Error
	if _, err := ca.Read(make([]byte, 1)); !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("Read() = %v", err)
	}
	if _, err := ca.Write(make([]byte, 1)); !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("Write() = %v", err)
	}
	_ = ca.SetDeadline(time.Time{})
	say(t, ca, cb, "still there")
	if ca.LocalAddr().String() != cb.RemoteAddr().String() {
		t.Error("the ends do not fit")
	}
}

func TestMaxConns(t *testing.T) {
	n := listen(t, &Node{Name: "x", Discovery: &lan{}, MaxConns: 1})
	addr := netip.AddrPortFrom(n.Address().Addresses[0], uint16(n.Address().Port)).String()
	first, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	get(t, "connection", n.conns)
	second, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	if _, err := second.Read(make([]byte, 1)); err == nil {
		t.Error("the second one is not closed")
	}
	if err := get(t, "error", n.errors); !errors.Is(err, errFull) {
		t.Errorf("OnError got %v", err)
	}
}

// If only the addresses of peers are known, each dials each other, and one connection stays.
func TestWithoutIDs(t *testing.T) {
	t.Parallel()
	const size = 5
	var list Static
	listeners := make([]net.Listener, size)
	for i := range listeners {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		listeners[i] = l
		list = append(list, Peer{Addrs: []netip.AddrPort{netip.MustParseAddrPort(l.Addr().String())}})
	}
	var nodes []*watched
	want := make([]int, size)
	for i, l := range listeners {
		w := watchNode(t, &Node{Name: "x", Hello: true, Discovery: list})
		if err := w.ListenOn(l); err != nil {
			t.Fatal(err)
		}
		nodes = append(nodes, w)
		want[i] = size - 1
	}
	stable(t, want, true, nodes...)
	nodes[0].Broadcast([]byte("hi"))
	for i, n := range nodes {
		seen := map[string]bool{}
		for _, c := range n.Connections() {
			seen[c.Peer()] = true
			if i > 0 && c.Peer() == nodes[0].LocalID() {
				hear(t, c, "hi")
			}
		}
		if len(seen) != size-1 || seen[n.LocalID()] {
			t.Errorf("node %d has %v", i, seen)
		}
	}
}

func TestDNS(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := netip.MustParseAddrPort(l.Addr().String())
	fails := true
	d := &DNS{
		Host: "nodes.example", Port: int(at.Port()), Interval: 10 * time.Millisecond,
		Lookup: func(_ context.Context, host string) ([]netip.Addr, error) {
			if fails {
				fails = false
				return nil, errors.New("no such " + host)
			}
			return []netip.Addr{at.Addr()}, nil
		},
	}
	a := watchNode(t, &Node{Name: "x", Hello: true, Discovery: &told{}})
	if err := a.ListenOn(l); err != nil {
		t.Fatal(err)
	}
	b := listen(t, &Node{Name: "x", Hello: true, Discovery: d})
	if got := get(t, "connection", b.conns).Peer(); got != a.LocalID() {
		t.Errorf("Peer() = %q", got)
	}
	if err := get(t, "error", b.errors); !strings.Contains(err.Error(), "no such nodes.example") {
		t.Errorf("OnError got %v", err)
	}
	if err := (&DNS{}).Discover(t.Context(), Self{}, Events{}); err == nil {
		t.Error("no error without a host")
	}
	for _, port := range []int{-1, 65536} {
		if err := (&DNS{Host: "nodes.example", Port: port}).Discover(t.Context(), Self{}, Events{}); err == nil {
			t.Errorf("no error with port %d", port)
		}
	}
}
