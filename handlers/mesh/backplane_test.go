package mesh

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/portluck/portluck/handlers"
)

// carrier is a node with a backplane, and what it has received.
type carrier struct {
	*watched
	b   *Backplane
	mu  sync.Mutex
	got []string
}

func (c *carrier) add(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.got = append(c.got, fmt.Sprintf(format, args...))
}

func (c *carrier) all() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Join(c.got, " ")
}

func carry(t testing.TB, n *Node) *carrier {
	t.Helper()
	c := &carrier{b: &Backplane{}}
	c.watched = watchNode(t, n)
	n.OnConnection = func(conn *Conn) {
		c.conns <- conn
		c.b.Serve(conn)
	}
	c.b.OnLine = func(_ *Conn, line []byte) { c.add("line:%s", line) }
	err := c.b.Subscribe(handlers.Subscriber{
		Deliver: func(d handlers.Delivery) {
			c.add("%s:%d:%s:%s:%s", d.Origin, d.Seq, d.Room, d.Message.Kind, d.Message.Data)
		},
		Gap: func(origin string, missed, next uint64) { c.add("gap:%s:%d:%d", origin, missed, next) },
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Listen(0, "127.0.0.1"); err != nil {
		t.Fatal(err)
	}
	get(t, "listening", c.listening)
	t.Cleanup(func() { c.b.Close() })
	return c
}

func (c *carrier) publish(t testing.TB, room, text string) {
	t.Helper()
	if err := c.b.Publish(room, handlers.Message{Data: []byte(text), Kind: handlers.Text}); err != nil {
		t.Errorf("Publish: %v", err)
	}
}

func (c *carrier) want(t testing.TB, want string) {
	t.Helper()
	got := ""
	eventually(t, fmt.Sprintf("got is %q", want), func() bool {
		now := c.all()
		if now != got {
			got = now
			t.Logf("got %q", got)
		}
		return got == want
	})
}

func TestBackplane(t *testing.T) {
	tests := []struct {
		name  string
		hello bool
		key   []byte
	}{{"plain", false, nil}, {"hello", true, nil}, {"key", false, testKey}}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := &lan{}
			var all []*carrier
			for _, id := range []string{"0A", "0B", "0C"} {
				all = append(all, carry(t, &Node{Name: "x", ID: id, Discovery: l, Hello: tt.hello, Key: tt.key}))
			}
			a, b, c := all[0], all[1], all[2]
			for _, n := range all {
				eventually(t, "all have met", func() bool { return n.b.Stats().Nodes == 2 })
			}
			a.publish(t, "lobby", "one\ntwo")
			a.publish(t, "", "")
			b.want(t, "0A:1:lobby:text:one\ntwo 0A:2::text:")
			c.want(t, "0A:1:lobby:text:one\ntwo 0A:2::text:")
			if got := a.all(); got != "" {
				t.Errorf("a got %q of its own", got)
			}
			if s := a.b.Stats(); s.Published != 2 || s.Missed != 0 {
				t.Errorf("Stats() = %+v", s)
			}
			b.b.Close()
			if err := b.b.Publish("x", handlers.Message{}); !errors.Is(err, handlers.ErrClosed) {
				t.Errorf("Publish after Close = %v", err)
			}
		})
	}
}

// A node learns that and how much was published while a peer was away.
func TestBackplaneGap(t *testing.T) {
	for _, hello := range []bool{false, true} {
		l := &lan{}
		a := carry(t, &Node{Name: "x", ID: "0A", Discovery: l, Hello: hello})
		b := carry(t, &Node{Name: "x", ID: "0B", Discovery: l, Hello: hello})
		eventually(t, "they have met", func() bool { return a.b.Stats().Nodes == 1 && b.b.Stats().Nodes == 1 })
		a.publish(t, "r", "1")
		b.want(t, "0A:1:r:text:1")
		conn := get(t, "connection", a.conns)
		a.b.mu.Lock() // no new connection is made while this lock is held
		conn.abort(errors.New("lost"))
		a.b.seq += 3
		a.b.mu.Unlock()
		conn = get(t, "next connection", a.conns)
		eventually(t, "they have met again", func() bool {
			a.b.mu.Lock()
			defer a.b.mu.Unlock()
			return a.b.conns[conn]
		})
		a.publish(t, "r", "5")
		b.want(t, "0A:1:r:text:1 gap:0A:3:5 0A:5:r:text:5")
		if got := b.b.Stats().Missed; got != 3 {
			t.Errorf("Missed = %d, want 3", got)
		}
	}
}

// script is a node whose part a test plays.
func script(t testing.TB, c *carrier, says string) net.Conn {
	t.Helper()
	nc, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", c.Address().Port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	if _, err := io.WriteString(nc, says); err != nil {
		t.Fatal(err)
	}
	return nc
}

func TestBackplaneWire(t *testing.T) {
	tests := []struct{ name, says, want string }{
		{"messages", "AT 0B ff 3\nMSG 4 auto 2 \"a b\"\nhi\nMSG 5 binary 1 \"\"\n\n\n", "0B:4:a b:auto:hi 0B:5::binary:\n"},
		{"one twice", "AT 0B ff 3\nMSG 4 auto 0 \"\"\n\nMSG 4 auto 0 \"\"\n\n", "0B:4::auto:"},
		{"one is missing", "AT 0B ff 3\nMSG 6 auto 0 \"\"\n\n", "gap:0B:2:6 0B:6::auto:"},
		{"another life", "AT 0B ff 0\n\x00AT 0B fe 2\nMSG 3 text 0 \"\"\n\n", "gap:0B:2:3 0B:3::text:"},
		{"lost in between", "AT 0B ff 1\n\x00AT 0B ff 2\n", "gap:0B:1:3"},
		{"other lines", "hello\nworld", "line:hello line:world"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := carry(t, &Node{Name: "x", ID: "0A", Discovery: &told{}})
			for says := range strings.SplitSeq(tt.says, "\x00") {
				nc := script(t, c, says)
				line, err := bufio.NewReader(nc).ReadString('\n')
				if err != nil || !strings.HasPrefix(line, "AT 0A ") || !strings.HasSuffix(line, " 0\n") {
					t.Errorf("it said %q, %v", line, err)
				}
				get(t, "connection", c.conns)
				nc.(*net.TCPConn).CloseWrite()
				eventually(t, "it has left", func() bool { return len(c.Connections()) == 0 && c.b.Stats().Nodes == 0 })
			}
			c.want(t, tt.want)
		})
	}
}

func TestBackplaneRefuses(t *testing.T) {
	tests := []struct {
		name, says string
		want       error
	}{
		{"message first", "MSG 1 auto 0 \"\"\n\n", handlers.ErrProtocol},
		{"our own id", "AT 0A ff 0\n", handlers.ErrProtocol},
		{"twice", "AT 0B ff 0\nAT 0B ff 0\n", handlers.ErrProtocol},
		{"malformed", "AT 0B\n", handlers.ErrProtocol},
		{"kind", "AT 0B ff 0\nMSG 1 json 0 \"\"\n\n", handlers.ErrProtocol},
		{"room", "AT 0B ff 0\nMSG 1 text 0 `x`\n\n", handlers.ErrProtocol},
		{"too long", "AT 0B ff 0\nMSG 1 text 1048577 \"\"\n", handlers.ErrProtocol},
		{"no line feed", "AT 0B ff 0\nMSG 1 text 1 \"\"\nxx", handlers.ErrProtocol},
		{"long line", strings.Repeat("x", maxLine+1), handlers.ErrTooLong},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := carry(t, &Node{Name: "x", ID: "0A", Discovery: &told{}})
			script(t, c, tt.says)
			if err := get(t, "error", c.errors); !errors.Is(err, tt.want) {
				t.Errorf("OnError got %v, want %v", err, tt.want)
			}
			get(t, "done", get(t, "connection", c.conns).Done())
		})
	}
	b := &Backplane{Limit: 10}
	if err := b.Publish("x", handlers.Message{Data: make([]byte, 11)}); !errors.Is(err, handlers.ErrTooLong) {
		t.Errorf("Publish() = %v", err)
	}
	if err := b.Subscribe(handlers.Subscriber{}); err != nil {
		t.Error(err)
	}
	if err := b.Subscribe(handlers.Subscriber{}); err == nil {
		t.Error("a second subscriber: no error")
	}
	b.Close()
}

// A peer that does not keep up is disconnected, and learns what it has missed.
func TestBackplaneSlow(t *testing.T) {
	l := &lan{}
	a := carry(t, &Node{Name: "x", ID: "0A", Discovery: l, Queue: 256 << 10})
	b := carry(t, &Node{Name: "x", ID: "0B", Discovery: l})
	eventually(t, "they have met", func() bool { return a.b.Stats().Nodes == 1 && b.b.Stats().Nodes == 1 })
	block := make(chan struct{})
	b.b.mu.Lock()
	var once sync.Once
	var got, missed atomic.Uint64
	b.b.subscriber = handlers.Subscriber{
		Deliver: func(handlers.Delivery) { once.Do(func() { <-block }); got.Add(1) },
		Gap:     func(_ string, n, _ uint64) { missed.Add(n) },
	}
	b.b.mu.Unlock()
	data := strings.Repeat("x", 64<<10)
	sent := uint64(0)
	for len(a.errors) == 0 {
		a.publish(t, "r", data)
		sent++
	}
	if err := get(t, "error", a.errors); !errors.Is(err, handlers.ErrSlow) {
		t.Errorf("OnError got %v", err)
	}
	close(block)
	eventually(t, "everything has come or is told to be missing", func() bool {
		s := b.b.Stats()
		return s.Delivered+s.Missed == sent && s.Missed > 0
	})
	eventually(t, "all of it is told", func() bool { return got.Load()+missed.Load() == sent })
}

func FuzzFrames(f *testing.F) {
	f.Add([]byte("AT 0B ff 3\nMSG 4 auto 2 \"a b\"\nhi\nMSG 5 binary 1 \"\"\n\n\nhello"))
	f.Add([]byte("MSG 1 text 9999999 \"\\x00\"\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, fr := bufio.NewReaderSize(bytes.NewReader(data), maxLine), frames{limit: 1000}
		for {
			kind, err := fr.next(r)
			if err != nil {
				return
			}
			if kind != frameMessage {
				continue
			}
			m := fr.message
			if len(m.Data) > 1000 || len(fr.room) > maxRoom {
				t.Fatalf("message of %d bytes in room %q", len(m.Data), fr.room)
			}
			again := frames{limit: 1000}
			p := appendMessage(nil, fr.seq, fr.room, m)
			if _, err := again.next(bufio.NewReaderSize(bytes.NewReader(p), maxLine)); err != nil ||
				again.room != fr.room || !bytes.Equal(again.message.Data, m.Data) || again.seq != fr.seq || again.message.Kind != m.Kind {
				t.Fatalf("%q comes back as %+v, %v", p, again, err)
			}
		}
	})
}

// BenchmarkBackplane publishes messages of 100 bytes, of which up to 1,000 are under way.
func BenchmarkBackplane(b *testing.B) {
	l := &lan{}
	from := carry(b, &Node{Name: "x", ID: "0A", Discovery: l})
	to := carry(b, &Node{Name: "x", ID: "0B", Discovery: l})
	eventually(b, "they have met", func() bool { return from.b.Stats().Nodes == 1 && to.b.Stats().Nodes == 1 })
	const window = 1000 // messages under way
	come := make(chan struct{}, window)
	to.b.mu.Lock()
	to.b.subscriber = handlers.Subscriber{Deliver: func(handlers.Delivery) { come <- struct{}{} }}
	to.b.mu.Unlock()
	m := handlers.Message{Data: make([]byte, 100), Kind: handlers.Binary}
	for i := 0; b.Loop(); i++ {
		if i >= window {
			<-come
		}
		if err := from.b.Publish("lobby", m); err != nil {
			b.Fatal(err)
		}
	}
	eventually(b, "all have come", func() bool {
		s := to.b.Stats()
		return s.Delivered == from.b.Stats().Published && s.Missed == 0
	})
}
