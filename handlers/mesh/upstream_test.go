package mesh

import (
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/portluck/portluck/testdata/need"
)

// discoveries runs f with each discovery of upstream's tests: multicast DNS on the loopback
// interface, and one that finds nodes at once.
func discoveries(t *testing.T, f func(t *testing.T, node func(id string) *Node)) {
	t.Helper()
	t.Run("mdns", func(t *testing.T) {
		t.Parallel()
		f(t, func(id string) *Node { return &Node{Name: testName(t), ID: id} })
	})
	t.Run("lan", func(t *testing.T) {
		t.Parallel()
		l := &lan{}
		f(t, func(id string) *Node { return &Node{Name: "test", ID: id, Discovery: l} })
	})
}

// testName returns a name of a mesh that no other test has.
func testName(t *testing.T) string {
	t.Helper()
	return "t" + strings.ToLower(idOfTest(t.Name()))
}

func TestAddress(t *testing.T) {
	t.Parallel()
	discoveries(t, func(t *testing.T, node func(string) *Node) {
		n := node("")
		if got := n.Address(); got != nil {
			t.Errorf("T1 Address() before listen = %v, want nil", got)
		}
		seen := make(chan *Address, 1)
		n.OnListening = func() { seen <- n.Address() }
		if err := n.Listen(0, "localhost"); err != nil {
			t.Fatal(err)
		}
		defer n.Close()
		a := get(t, "T15 listening", seen)
		if a == nil || a.Port == 0 || len(a.Addresses) == 0 || !a.Addresses[0].IsLoopback() {
			t.Errorf("T1, T15 Address() in OnListening = %v", a)
		}
		n.Close()
		if got := n.Address(); got != nil {
			t.Errorf("T1 Address() after close = %v, want nil", got)
		}
	})
}

func TestTwoNodes(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name     string
		parallel bool
	}{{"T2-4 both listen at once", true}, {"T5-8 one after the other", false}}
	discoveries(t, func(t *testing.T, node func(string) *Node) {
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				a, b := watchNode(t, node("")), watchNode(t, node(""))
				for i, n := range []*watched{a, b} {
					if err := n.Listen(0, "127.0.0.1"); err != nil {
						t.Fatal(err)
					}
					if i == 0 && !tt.parallel {
						get(t, "listening", a.listening)
					}
				}
				ca, cb := get(t, "connection", a.conns), get(t, "connection", b.conns)
				wantConns(t, []int{1, 1}, a, b)
				if a.Connections()[0] != ca || b.Connections()[0] != cb {
					t.Error("Connections() has another one")
				}
				say(t, ca, cb, "from a")
				say(t, cb, ca, "from b")
				a.Close()
				b.Close()
				for _, n := range []*watched{a, b} {
					if got := strings.Join(n.noted(), " "); got != "listening connection close" {
						t.Errorf("events = %q", got)
					}
				}
			})
		}
	})
}

func TestDynamic(t *testing.T) { // T9-14
	t.Parallel()
	discoveries(t, func(t *testing.T, node func(string) *Node) {
		a := listen(t, node(""))
		wantConns(t, []int{0}, a)
		b := listen(t, node(""))
		ab, ba := get(t, "connection", a.conns), get(t, "connection", b.conns)
		wantConns(t, []int{1, 1}, a, b)
		if got := strings.Join(b.noted(), " "); got != "listening connection" {
			t.Errorf("T10 events of the newcomer = %q", got)
		}
		say(t, ab, ba, "ping")
		c := listen(t, node(""))
		wantConns(t, []int{2, 2, 2}, a, b, c)
		if got := c.Broadcast([]byte("ping")); got != 2 {
			t.Errorf("T12 Broadcast() = %d, want 2", got)
		}
		for _, n := range []*watched{a, b} {
			conn := get(t, "connection", n.conns)
			hear(t, conn, "ping")
			if _, err := conn.Write([]byte("pong")); err != nil {
				t.Error(err)
			}
		}
		for range 2 {
			hear(t, get(t, "connection", c.conns), "pong")
		}
		c.Close()
		wantConns(t, []int{1, 1, 0}, a, b, c)
		if got := c.noted(); got[len(got)-1] != "close" {
			t.Errorf("T13 events = %q", got)
		}
		b.Close()
		wantConns(t, []int{0, 0, 0}, a, b, c)
		a.Close()
	})
}

func TestClose(t *testing.T) {
	t.Parallel()
	discoveries(t, func(t *testing.T, node func(string) *Node) {
		t.Run("T16, T20 without connections", func(t *testing.T) {
			n := listen(t, node(""))
			n.Close()
			n.Close()
			if got := strings.Join(n.noted(), " "); got != "listening close" {
				t.Errorf("events = %q", got)
			}
		})
		t.Run("T17 without listen", func(t *testing.T) {
			n := watchNode(t, node(""))
			n.Close()
			if got := strings.Join(n.noted(), " "); got != "close" {
				t.Errorf("events = %q", got)
			}
			if err := n.Listen(0, "127.0.0.1"); !errors.Is(err, net.ErrClosed) {
				t.Errorf("Listen after Close = %v", err)
			}
		})
		t.Run("T18 right after listen", func(t *testing.T) {
			n := watchNode(t, node(""))
			if err := n.Listen(0, "127.0.0.1"); err != nil {
				t.Fatal(err)
			}
			n.Close()
			if got := n.noted(); got[len(got)-1] != "close" {
				t.Errorf("events = %q", got)
			}
		})
		t.Run("in a callback", func(t *testing.T) {
			n, done := node(""), make(chan struct{})
			n.OnListening = func() { n.Close() }
			n.OnClose = func() { close(done) }
			if err := n.Listen(0, "127.0.0.1"); err != nil {
				t.Fatal(err)
			}
			get(t, "close", done)
		})
	})
}

// refuseFirst is a dial whose first call fails.
func TestErrors(t *testing.T) {
	l := &lan{}
	boom := errors.New("boom")
	t.Run("T21, T23 dial", func(t *testing.T) {
		a, b := watchNode(t, &Node{Name: "x", ID: "0A", Discovery: l}), watchNode(t, &Node{Name: "x", ID: "0B", Discovery: l})
		var tried atomic.Bool
		dial := failingDial(boom, &tried)
		a.Dial, b.Dial = dial, dial
		for _, n := range []*watched{a, b} {
			if err := n.Listen(0, "127.0.0.1"); err != nil {
				t.Fatal(err)
			}
		}
		if err := get(t, "error", a.errors); !errors.Is(err, boom) {
			t.Errorf("OnError got %v", err)
		}
		ca, cb := get(t, "connection", a.conns), get(t, "connection", b.conns)
		// T22: the error of a connection goes to the connection.
		cb.abort(boom)
		if _, err := cb.Read(make([]byte, 1)); !errors.Is(err, boom) {
			t.Errorf("T22 Read() = %v", err)
		}
		get(t, "done", ca.Done())
		select {
		case err := <-b.errors:
			t.Errorf("T22 OnError got %v", err)
		default:
		}
	})
	t.Run("T31, T32 listener", func(t *testing.T) {
		n := watchNode(t, &Node{Name: "x", Discovery: &lan{}})
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		if err := n.ListenOn(&brokenListener{Listener: ln, err: boom}); err != nil {
			t.Fatal(err)
		}
		if err := get(t, "error", n.errors); !errors.Is(err, boom) {
			t.Errorf("OnError got %v", err)
		}
	})
	t.Run("port in use", func(t *testing.T) {
		a := listen(t, &Node{Name: "x", Discovery: l})
		b := &Node{Name: "x", Discovery: l}
		if err := b.Listen(a.Address().Port, "127.0.0.1"); err == nil {
			t.Error("no error")
		}
		if err := b.Listen(0, "no-such-host.invalid"); err == nil {
			t.Error("no error for a host that is not there")
		}
		b.Close()
	})
}

func TestLoopback(t *testing.T) { // T24-28: unlike avahi's original, the loopback interface works
	t.Parallel()
	for _, address := range []string{"127.0.0.1", "::1", "localhost"} {
		t.Run(address, func(t *testing.T) {
			t.Parallel()
			if address == "::1" {
				need.IPv6(t)
			}
			a, b := watchNode(t, &Node{Name: testName(t)}), watchNode(t, &Node{Name: testName(t)})
			for _, n := range []*watched{a, b} {
				err := n.Listen(0, address)
				if err != nil {
					t.Fatal(err)
				}
				get(t, "listening", n.listening)
			}
			ca, cb := get(t, "connection", a.conns), get(t, "connection", b.conns)
			for _, n := range []*watched{a, b} {
				for _, addr := range n.Address().Addresses {
					if !addr.IsLoopback() {
						t.Errorf("address %v is not loopback", addr)
					}
				}
			}
			say(t, ca, cb, "ping")
			say(t, cb, ca, "pong")
		})
	}
}

func TestWhoDials(t *testing.T) {
	t.Parallel()
	discoveries(t, func(t *testing.T, node func(string) *Node) {
		tests := []struct {
			name, dials, accepts string
		}{
			{"T29-30 lower", "00A", "0A0"},
			{"lower case", "0b", "0C"},
			{"the longer one", "0A0", "0A"},
		}
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				a, b := listen(t, node(tt.accepts)), listen(t, node(tt.dials))
				ca, cb := get(t, "connection", a.conns), get(t, "connection", b.conns)
				if ca.Dialled() || !cb.Dialled() || cb.Peer() != strings.ToUpper(tt.accepts) || ca.Peer() != "" {
					t.Errorf("%q dialled: %t; %q dialled: %t, peer %q", tt.accepts, ca.Dialled(), tt.dials, cb.Dialled(), cb.Peer())
				}
				time.Sleep(200 * time.Millisecond) // upstream's
				wantConns(t, []int{1, 1}, a, b)
				if len(a.conns)+len(b.conns) > 0 {
					t.Error("there was another connection")
				}
				a.Close() // before the next node gets its id
				b.Close()
			})
		}
	})
}

func TestBothWriteAtOnce(t *testing.T) { // T33-34
	t.Parallel()
	discoveries(t, func(t *testing.T, node func(string) *Node) {
		got := make(chan string, 2)
		var nodes []*Node
		for _, name := range []string{"a", "b"} {
			n := node("")
			n.OnConnection = func(c *Conn) {
				c.Write([]byte("hello from " + name))
				buf := make([]byte, len("hello from x"))
				m, _ := c.Read(buf)
				got <- string(buf[:m])
			}
			if err := n.Listen(0, "127.0.0.1"); err != nil {
				t.Fatal(err)
			}
			nodes = append(nodes, n)
		}
		a, b := get(t, "message", got), get(t, "message", got)
		if a+b != "hello from ahello from b" && a+b != "hello from bhello from a" {
			t.Errorf("got %q, %q", a, b)
		}
		for _, n := range nodes {
			n.Close()
		}
	})
}

func TestMistakes(t *testing.T) { // T35-42; the compiler checks those about types
	tests := []struct {
		name string
		n    *Node
		port int
		want string
	}{
		{"T35-38 no name", &Node{}, 0, "must not be empty"},
		{"only _", &Node{Name: "_"}, 0, "must not be empty"},
		{"long", &Node{Name: strings.Repeat("x", 16)}, 0, "more than 15 characters"},
		{"space", &Node{Name: "a b"}, 0, "may only contain"},
		{"T40 id", &Node{Name: "x", ID: "NOT-HEX"}, 0, "must be a hex string"},
		{"long id", &Node{Name: "x", ID: strings.Repeat("A", 64)}, 0, "longer than 63"},
		{"T41 port", &Node{Name: "x"}, 65536, "must be a number"},
		{"negative port", &Node{Name: "x"}, -1, "must be a number"},
		{"short key", &Node{Name: "x", Key: []byte("secret")}, 0, "too short"},
		{"trust alone", &Node{Name: "x", Trust: []string{"AA"}}, 0, "needs an Identity"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			defer tt.n.Close()
			if err := tt.n.Listen(tt.port, "127.0.0.1"); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Listen() = %v, want %q", err, tt.want)
			}
		})
	}
}

func TestNewID(t *testing.T) { // G1
	all := map[string]bool{}
	for range 1000 {
		id := NewID()
		if len(id) != 52 || CheckID(id) != nil {
			t.Fatalf("NewID() = %q", id)
		}
		all[id] = true
	}
	if len(all) != 1000 {
		t.Errorf("%d of 1000 are different", len(all))
	}
}
