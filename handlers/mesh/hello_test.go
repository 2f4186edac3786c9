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
	"time"
)

var testKey = []byte("0123456789abcdef0123456789abcdef")

// Nodes that send their ids know each other, whichever of them dials.
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

// A stranger on the network cannot join, and is reported to OnError.
func TestStranger(t *testing.T) {
	t.Parallel()
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
				// The stranger dials, whatever the order of the ids says.
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

// dialDirectly makes from try to reach a peer, and waits until that has failed.
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
	// It sends nothing by itself, and what it is made to send is not a hello.
	get(t, "done", c.Done())
	if err := get(t, "error", to.errors); err == nil {
		t.Error("no error")
	}
}

// A list may contain the node itself, which is no error. Another node with the same id is an error.
func TestItself(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	list := Static{{Addrs: []netip.AddrPort{netip.MustParseAddrPort(ln.Addr().String())}}}
	a := watchNode(t, &Node{Name: "x", ID: "0A", Hello: true, Discovery: list})
	if err := a.ListenOn(ln); err != nil {
		t.Fatal(err)
	}
	get(t, "listening", a.listening)
	b := listen(t, &Node{Name: "x", ID: "0a", Hello: true, Discovery: list})
	if err := get(t, "error", b.errors); !errors.Is(err, ErrIDInUse) {
		t.Errorf("OnError got %v", err)
	}
	c := listen(t, &Node{Name: "X", ID: "0B", Hello: true, Discovery: list})
	get(t, "connection", c.conns)
	if len(a.Connections()) != 1 || len(a.errors) > 0 {
		t.Errorf("%d connections, %d errors", len(a.Connections()), len(a.errors))
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

// FuzzReadWord checks that a word is the first five bytes, however the input is split, and that
// nothing after them is read, as the rest is the application's.
func FuzzReadWord(f *testing.F) {
	f.Add("join\nrest", uint8(1))
	f.Add("have\n", uint8(3))
	f.Add("hav", uint8(200))
	f.Fuzz(func(t *testing.T, s string, most uint8) {
		in := &input{data: s, most: int(most)}
		word, err := readWord(in)
		if len(s) < len(join) {
			if want := map[bool]error{true: io.EOF, false: io.ErrUnexpectedEOF}[s == ""]; !errors.Is(err, want) {
				t.Errorf("readWord(%q) = %q, %v, want %v", s, word, err, want)
			}
			return
		}
		if err != nil || word+in.data != s || len(word) != len(join) {
			t.Errorf("readWord(%q) = %q, %v and leaves %q", s, word, err, in.data)
		}
	})
}

// input is a net.Conn that can only be read.
type input struct {
	net.Conn // nil, so that other calls panic
	data     string
	most     int // the most bytes of one Read; no bound if 0
}

func (i *input) Read(p []byte) (int, error) {
	if i.data == "" {
		return 0, io.EOF
	}
	if i.most > 0 {
		p = p[:min(len(p), i.most)]
	}
	n := copy(p, i.data)
	i.data = i.data[n:]
	return n, nil
}
