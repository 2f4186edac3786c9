package mesh

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
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

// When a peer cannot be reached the pauses grow, each error is told, and after Forget it is left alone.
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

// told is a discovery that says what it is told.
type told struct{ peers []Peer }

func (d *told) Discover(ctx context.Context, _ Self, e Events) error {
	e.Ready()
	for _, p := range d.peers {
		e.Found(p)
	}
	<-ctx.Done()
	return nil
}

// A panic of the program's costs one connection.
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

// What is queued when a connection is closed still arrives, and what was read ahead can be read.
func TestCloseKeepsWhatWasWritten(t *testing.T) {
	for _, secure := range []bool{false, true} {
		l := &lan{}
		na, nb := &Node{Name: "x", ID: "0A", Discovery: l}, &Node{Name: "x", ID: "0B", Discovery: l}
		if secure {
			na.Key, nb.Key = testKey, testKey
		}
		a, b := listen(t, na), listen(t, nb)
		ca, cb := get(t, "connection", a.conns), get(t, "connection", b.conns)
		data := bytes.Repeat([]byte("0123456789abcdef"), 1<<16) // 1 MiB: not all of it is on its way
		if err := ca.Send(data); err != nil {
			t.Fatal(err)
		}
		closed := make(chan error)
		go func() { closed <- a.Close() }() // waits until cb has read
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

// A peer that does not read is disconnected by Broadcast, and Close does not wait for it for ever.
func TestSlowPeer(t *testing.T) {
	l := &lan{}
	a := listen(t, &Node{Name: "x", ID: "0A", Discovery: l, Queue: 1 << 20, CloseTimeout: 50 * time.Millisecond})
	b := listen(t, &Node{Name: "x", ID: "0B", Discovery: l})
	ca := get(t, "connection", a.conns)
	get(t, "connection", b.conns) // and nobody reads
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

var testKey = []byte("0123456789abcdef0123456789abcdef")

// Who tells who it is: each side knows the other, whoever dials.
func TestHello(t *testing.T) {
	identity := func() ed25519.PrivateKey {
		_, key, _ := ed25519.GenerateKey(rand.Reader)
		return key
	}
	ka, kb := identity(), identity()
	ia, ib := IdentityID(ka.Public().(ed25519.PublicKey)), IdentityID(kb.Public().(ed25519.PublicKey))
	tests := []struct {
		name string
		a, b Node
	}{
		{"hello", Node{ID: "0A", Hello: true}, Node{ID: "0B", Hello: true}},
		{"key", Node{ID: "0A", Key: testKey}, Node{ID: "0B", Key: testKey}},
		{"identity", Node{Identity: ka, Trust: []string{ib}}, Node{Identity: kb, Trust: []string{strings.ToLower(ia)}}},
		{"both", Node{Identity: ka, Trust: []string{ib}, Key: testKey}, Node{Identity: kb, Trust: []string{ia}, Key: testKey}},
	}
	for i := range tests {
		t.Run(tests[i].name, func(t *testing.T) {
			a, b, l := &tests[i].a, &tests[i].b, &lan{}
			a.Name, b.Name, a.Discovery, b.Discovery = "x", "x", l, l
			wa, wb := listen(t, a), listen(t, b)
			ca, cb := get(t, "connection", wa.conns), get(t, "connection", wb.conns)
			if ca.Peer() != b.LocalID() || cb.Peer() != a.LocalID() || ca.Peer() == "" {
				t.Errorf("peers are %q, %q", ca.Peer(), cb.Peer())
			}
			say(t, ca, cb, "ping")
			say(t, cb, ca, "pong")
		})
	}
}

// A stranger on the network cannot join, and is told to OnError.
func TestStranger(t *testing.T) {
	key := func(seed byte) ed25519.PrivateKey {
		return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize))
	}
	id := func(seed byte) string { return IdentityID(key(seed).Public().(ed25519.PublicKey)) }
	other := []byte("another key, of another mesh ...")
	tests := []struct {
		name           string
		node, stranger Node
	}{
		{"upstream's wire to hello", Node{Hello: true}, Node{}},
		{"no key", Node{Key: testKey}, Node{}},
		{"hello without the key", Node{Key: testKey}, Node{Hello: true}},
		{"another key", Node{Key: testKey}, Node{Key: other}},
		{"identity instead of the key", Node{Key: testKey}, Node{Identity: key(1), Trust: []string{"0A", "0C"}}},
		{"not trusted", Node{Identity: key(1), Trust: []string{id(2)}}, Node{Identity: key(3), Trust: []string{id(1)}}},
		{"the key is not enough", Node{Identity: key(1), Trust: []string{id(2)}, Key: testKey}, Node{Key: testKey, ID: id(2)}},
		{"trusted without the key", Node{Identity: key(1), Trust: []string{id(2)}, Key: testKey}, Node{Identity: key(2), Trust: []string{id(1)}}},
		{"one trusts only", Node{Identity: key(1), Trust: []string{id(2)}}, Node{Identity: key(4), Trust: []string{id(1), id(2)}}},
	}
	for i := range tests {
		for _, strangerDials := range []bool{true, false} {
			t.Run(tests[i].name, func(t *testing.T) {
				n, s := copyNode(&tests[i].node), copyNode(&tests[i].stranger)
				w := watchNode(t, n)
				n.Name, n.Discovery, s.Name = "x", &told{}, "x"
				n.HelloTimeout = time.Second
				if n.Identity == nil {
					n.ID = "0B"
				}
				if err := n.Listen(0, "127.0.0.1"); err != nil {
					t.Fatal(err)
				}
				get(t, "listening", w.listening)
				// The stranger: whatever ids say, this is who dials.
				ws := watchNode(t, s)
				s.Discovery, s.HelloTimeout = &told{}, time.Second
				if err := s.Listen(0, "127.0.0.1"); err != nil {
					t.Fatal(err)
				}
				get(t, "listening", ws.listening)
				from, to := w, ws
				if strangerDials {
					from, to = ws, w
				}
				dialDirectly(t, from, to)
				if len(n.Connections()) > 0 || len(w.conns) > 0 {
					t.Error("the stranger is a member")
				}
			})
		}
	}
}

func copyNode(n *Node) *Node {
	return &Node{ID: n.ID, Hello: n.Hello, Key: n.Key, Identity: n.Identity, Trust: n.Trust}
}

// dialDirectly has from try to make to a peer, and waits until that has failed.
func dialDirectly(t *testing.T, from, to *watched) {
	t.Helper()
	a := to.Address()
	nc, err := net.Dial("tcp", netip.AddrPortFrom(a.Addresses[0], uint16(a.Port)).String())
	if err != nil {
		t.Fatal(err)
	}
	c, err := from.introduce(context.Background(), nc, to.LocalID())
	if err == nil && from.tells() {
		t.Errorf("introduce() = %v", c)
	}
	nc.Close()
	if c == nil {
		return
	}
	// It sends nothing of itself; what it sends is no hello.
	get(t, "done", c.Done())
	if err := get(t, "error", to.errors); err == nil {
		t.Error("no error")
	}
}

// Peers of which only the addresses are known: each dials each, and one connection stays.
func TestWithoutIDs(t *testing.T) {
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
	wantConns(t, want, nodes...)
	nodes[0].Broadcast([]byte("hi"))
	time.Sleep(500 * time.Millisecond) // in which another one might come
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
}

func TestParseHello(t *testing.T) {
	tests := []struct {
		line, name, id string
		ok             bool
	}{
		{"PORTLUCK-MESH/1 lobby 0AF", "lobby", "0AF", true},
		{"PORTLUCK-MESH/1 lobby 0af", "", "", false},
		{"PORTLUCK-MESH/1 lobby", "", "", false},
		{"PORTLUCK-MESH/1  0AF", "", "", false},
		{"PORTLUCK-MESH/1 lobby 0AF\r", "", "", false},
		{"PORTLUCK-MESH/1 lobby 0AF x", "", "", false},
		{"PORTLUCK-MESH/1 _lobby 0AF", "", "", false},
		{"PORTLUCK-MESH/2 lobby 0AF", "", "", false},
		{"", "", "", false},
	}
	for _, tt := range tests {
		name, id, err := parseHello(tt.line)
		if name != tt.name || id != tt.id || (err == nil) != tt.ok {
			t.Errorf("parseHello(%q) = %q, %q, %v", tt.line, name, id, err)
		}
	}
}

func FuzzHello(f *testing.F) {
	f.Add("PORTLUCK-MESH/1 lobby 0AF\nrest")
	f.Add("GET / HTTP/1.1\r\n\r\n")
	f.Fuzz(func(t *testing.T, s string) {
		line, rest, found := strings.Cut(s, "\n")
		in := &input{data: s}
		name, id, err := readHello(in)
		if err != nil {
			if _, _, perr := parseHello(line); found && perr == nil {
				t.Fatalf("readHello(%q) = %v", s, err)
			}
			return
		}
		if hello(name, id) != line+"\n" || in.data != rest {
			t.Fatalf("readHello(%q) = %q, %q and leaves %q", s, name, id, in.data)
		}
	})
}

// input is a net.Conn to read from.
type input struct {
	net.Conn // nil: nothing else is used
	data     string
}

func (i *input) Read(p []byte) (int, error) {
	if i.data == "" {
		return 0, io.EOF
	}
	n := copy(p, i.data)
	i.data = i.data[n:]
	return n, nil
}
