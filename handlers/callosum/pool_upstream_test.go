package callosum

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/portluck/portluck/handlers"
)

// Upstream's tests of the client pool, part B5 of SEEDS.md.
func TestUpstreamPool(t *testing.T) {
	run := func(name string, f func(t *testing.T)) {
		t.Run(name, func(t *testing.T) { synctest.Test(t, f) })
	}
	run("L1 the size is a field", func(t *testing.T) {
		p := &Pool{}
		if p.size() != 100 {
			t.Errorf("default size %d, want 100", p.size())
		}
		if p = (&Pool{Size: 7}); p.size() != 7 {
			t.Errorf("size %d, want 7", p.size())
		}
	})
	run("L2 an empty pool has nothing", func(t *testing.T) {
		if c := new(Pool).TryGet(); c != nil {
			t.Errorf("TryGet() = %v, want nil", c)
		}
	})
	run("L3 lowest slot first, L4 a new connection is available", func(t *testing.T) {
		p := &Pool{}
		for _, slot := range []int{3, 1, 2} {
			c, _ := slotted(slot)
			if !p.Offer(c) {
				t.Errorf("slot %d is not kept", slot)
			}
		}
		var leased []*Conn
		for want := 1; want <= 3; want++ {
			c := p.TryGet()
			if c == nil || c.Slot() != want {
				t.Fatalf("TryGet() = %v, want slot %d", c, want)
			}
			leased = append(leased, c)
		}
		closePool(p, leased...)
	})
	run("L5 the highest makes room for a lower one", func(t *testing.T) {
		p := &Pool{Size: 2}
		for _, slot := range []int{1, 3, 2} {
			c, _ := slotted(slot)
			p.Offer(c)
		}
		a, b := p.TryGet(), p.TryGet()
		if a.Slot() != 1 || b.Slot() != 2 || p.TryGet() != nil {
			t.Errorf("slots %d, %d, then something", a.Slot(), b.Slot())
		}
		closePool(p, a, b)
	})
	run("L6 a full pool rejects a higher slot, until one breaks", func(t *testing.T) {
		p := &Pool{Size: 1}
		c, server := slotted(1)
		p.Offer(c)
		for _, slot := range []int{2, 1} {
			no, other := slotted(slot)
			if p.Offer(no) || isOpen(other) {
				t.Errorf("slot %d is kept", slot)
			}
		}
		server.Close()
		synctest.Wait()
		yes, _ := slotted(2)
		if !p.Offer(yes) || !slices.Equal(slotsOf(p), []int{2}) {
			t.Errorf("slots %d, want 2", slotsOf(p))
		}
		closePool(p)
	})
	run("L7 what is put back is available again", func(t *testing.T) {
		p := &Pool{}
		c, _ := slotted(4)
		p.Offer(c)
		for range 3 {
			if got := p.TryGet(); got != c || p.TryGet() != nil {
				t.Fatalf("TryGet() = %v", got)
			}
			p.Put(c)
			p.Put(c) // a second Put does nothing; upstream would have c twice
		}
		if m := p.Members(); len(m) != 1 || m[0].Uses != 3 || m[0].Leased {
			t.Errorf("Members() = %+v", m)
		}
		closePool(p)
	})
	run("L8 a leased maximum that was replaced is closed when put back", func(t *testing.T) {
		p := &Pool{Size: 1}
		c, server := slotted(9)
		p.Offer(c)
		p.TryGet()
		low, _ := slotted(3)
		p.Offer(low)
		if !isOpen(server) {
			t.Error("the leased connection is closed already")
		}
		p.Put(c)
		if isOpen(server) || !slices.Equal(slotsOf(p), []int{3}) {
			t.Errorf("slots %d, want 3; the old one is open: %v", slotsOf(p), isOpen(server))
		}
		closePool(p)
	})
	for name, breaks := range map[string]func(c *Conn, server net.Conn){
		"L9 ended":   func(_ *Conn, server net.Conn) { server.Close() },
		"L10 failed": func(c *Conn, _ net.Conn) { c.Conn.Close() },
		"L11 closed": func(c *Conn, _ net.Conn) { c.Close() },
	} {
		run(name+": not given out again, and not counted", func(t *testing.T) {
			p := &Pool{Size: 2}
			one, server := slotted(1)
			two, _ := slotted(2)
			p.Offer(one)
			p.Offer(two)
			p.TryGet()
			breaks(one, server)
			synctest.Wait()
			p.Put(one)
			if got := p.TryGet(); got != two || !slices.Equal(slotsOf(p), []int{2}) {
				t.Errorf("TryGet() = %v, members %v", got, p.Members())
			}
			if isOpen(server) {
				t.Error("it is open")
			}
			closePool(p, two)
		})
	}
}

// Upstream's tests of the rover, part B5 of SEEDS.md.
func TestUpstreamRovers(t *testing.T) {
	run := func(name string, f func(t *testing.T, n *network)) {
		t.Run(name, func(t *testing.T) { synctest.Test(t, func(t *testing.T) { f(t, &network{}) }) })
	}
	slotServer := func(t *testing.T, n *network, name string, slot int) {
		t.Helper()
		serve(t, &Handler{OnSlotRequest: func(context.Context) (int, error) { return slot, nil }}, n.listen(name))
	}
	run("R1 the interval and R2 the servers are fields", func(t *testing.T, n *network) {
		p := &Pool{Servers: map[string]string{"a": "a", "b": "b"}, ProbeInterval: time.Minute}
		if p.probeInterval() != time.Minute || new(Pool).probeInterval() != time.Second {
			t.Errorf("interval %v, default %v", p.probeInterval(), new(Pool).probeInterval())
		}
		slotServer(t, n, "a", 1)
		slotServer(t, n, "b", 2)
		p.Dialer.DialContext = n.dial
		start(t, p)
		synctest.Wait()
		seen := map[string]bool{}
		for _, m := range p.Members() {
			seen[m.Server] = true
		}
		if len(p.Members()) != 100 || !seen["a"] || !seen["b"] {
			t.Errorf("%d connections to %v", len(p.Members()), seen)
		}
	})
	run("R3 add, R4 add again with another address, R5 drop", func(t *testing.T, n *network) {
		slotServer(t, n, "a", 1)
		slotServer(t, n, "b", 2)
		p := &Pool{Size: 3, Dialer: Dialer{DialContext: n.dial}}
		start(t, p)
		synctest.Wait()
		for _, step := range []struct {
			do   func()
			want []int
		}{
			{func() {}, []int{}},
			{func() { p.Add("x", "a") }, []int{1, 1, 1}},
			{func() { p.Add("x", "a") }, []int{1, 1, 1}},
			{func() { p.Add("x", "b") }, []int{2, 2, 2}},
			{func() { p.Drop("x") }, []int{}},
			{func() { p.Drop("y") }, []int{}},
		} {
			step.do()
			synctest.Wait()
			if got := slotsOf(p); !slices.Equal(got, step.want) {
				t.Errorf("slots %d, want %d", got, step.want)
			}
		}
	})
	run("R6 a dead server is told at each interval", func(t *testing.T, n *network) {
		e := newEvents()
		p := &Pool{
			Servers: map[string]string{"dead": "dead"}, ProbeInterval: 100 * time.Millisecond, Dialer: Dialer{DialContext: n.dial},
			OnError: func(id string, err error) { e.note("%s %v", id, err) },
		}
		start(t, p)
		time.Sleep(250 * time.Millisecond)
		e.want(t, "dead connection refused", "dead connection refused", "dead connection refused")
	})
	run("R7 a slot is a connection", func(t *testing.T, n *network) {
		slotServer(t, n, "a", 173)
		p := &Pool{Servers: map[string]string{"a": "a"}, Size: 1, Dialer: Dialer{DialContext: n.dial}}
		start(t, p)
		c, err := p.Get(t.Context())
		if err != nil || c.Slot() != 173 {
			t.Fatalf("Get() = %v, %v, want slot 173", c, err)
		}
		p.Put(c)
	})
	run("R8 what is not a slot is an error", func(t *testing.T, n *network) {
		l := n.listen("a")
		go func() {
			c, _ := l.Accept()
			io.WriteString(c, "foo\r\n")
			l.Close()
		}()
		errs := make(chan error, 10)
		p := &Pool{
			Servers: map[string]string{"a": "a"}, Dialer: Dialer{DialContext: n.dial}, Size: 1,
			OnError: func(_ string, err error) { errs <- err },
		}
		start(t, p)
		if err := <-errs; !errors.Is(err, handlers.ErrProtocol) {
			t.Errorf("OnError(%v), want ErrProtocol", err)
		}
	})
	run("no servers is told at each interval", func(t *testing.T, _ *network) {
		e := newEvents()
		start(t, &Pool{ProbeInterval: time.Second, OnError: func(id string, err error) { e.note("%s%v", id, err) }})
		time.Sleep(1500 * time.Millisecond)
		e.want(t, "no servers to contact", "no servers to contact")
	})
}
