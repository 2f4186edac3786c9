package callosum

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/portluck/portluck/handlers"
)

// slotted is a connection that has a slot, and its other end.
func slotted(slot int) (c *Conn, server net.Conn) {
	a, b := net.Pipe()
	return &Conn{Conn: a, slot: slot, gone: make(chan struct{})}, b
}

// slotsOf are the slots of a pool's connections.
func slotsOf(p *Pool) []int {
	all := []int{}
	for _, m := range p.Members() {
		all = append(all, m.Slot)
	}
	return all
}

// closePool ends a pool that was not run.
func closePool(p *Pool, leased ...*Conn) {
	p.close()
	for _, c := range leased {
		c.Close()
	}
}

// isOpen says whether the other end of a pipe is.
func isOpen(server net.Conn) bool {
	server.SetReadDeadline(time.Now().Add(time.Millisecond))
	_, err := server.Read(make([]byte, 1))
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

// Upstream's tests of the client pool, SEEDS.md B5.
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
			p.Put(c) // does nothing: upstream would have it twice
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

// start runs p until the test ends.
func start(t *testing.T, p *Pool) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run() = %v, want Canceled", err)
		}
	})
}

// Upstream's tests of the rover, SEEDS.md B5.
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

func TestPoolGet(t *testing.T) {
	run := func(name string, f func(t *testing.T, p *Pool, c *Conn)) {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &Pool{Size: 1}
				c, _ := slotted(0)
				p.Offer(c)
				f(t, p, c)
				closePool(p, c)
			})
		})
	}
	run("waits its turn", func(t *testing.T, p *Pool, c *Conn) {
		e := newEvents()
		p.TryGet()
		var wg sync.WaitGroup
		for i := range 3 {
			wg.Go(func() {
				time.Sleep(time.Duration(i) * time.Second)
				got, err := p.Get(t.Context())
				e.note("%d %v", i, err)
				time.Sleep(time.Second)
				p.Put(got)
			})
		}
		time.Sleep(5 * time.Second)
		p.Put(c)
		wg.Wait()
		e.want(t, "0 <nil>", "1 <nil>", "2 <nil>")
	})
	run("gives up", func(t *testing.T, p *Pool, c *Conn) {
		p.TryGet()
		begin := time.Now()
		if _, err := p.Get(t.Context()); !errors.Is(err, ErrBusy) || time.Since(begin) != 10*time.Second {
			t.Errorf("Get() = %v after %v, want ErrBusy after 10 s", err, time.Since(begin))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := p.Get(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Get() = %v, want DeadlineExceeded", err)
		}
		p.Put(c)
		if got, err := p.Get(ctx); got != c || err != nil {
			t.Errorf("Get() = %v, %v: who has given up has taken it", got, err)
		}
	})
	run("gets a new connection", func(t *testing.T, p *Pool, _ *Conn) {
		p.TryGet()
		p.Size = 2
		low, _ := slotted(7)
		time.AfterFunc(time.Second, func() { p.Offer(low) })
		if got, err := p.Get(t.Context()); got != low || err != nil {
			t.Errorf("Get() = %v, %v, want the new one", got, err)
		}
		p.Put(low)
	})
	run("ends with the pool", func(t *testing.T, p *Pool, _ *Conn) {
		p.TryGet()
		time.AfterFunc(time.Second, p.close)
		for range 2 {
			if _, err := p.Get(t.Context()); !errors.Is(err, ErrPoolClosed) {
				t.Errorf("Get() = %v, want ErrPoolClosed", err)
			}
		}
		if p.TryGet() != nil {
			t.Error("TryGet gives something")
		}
		late, server := slotted(0)
		if p.Offer(late) || isOpen(server) {
			t.Error("a closed pool keeps a connection")
		}
	})
}

// Do puts back what is good, and closes what is not.
func TestPoolDo(t *testing.T) {
	for _, test := range []struct {
		name string
		f    func(*Conn) error
		kept bool
	}{
		{"good", func(*Conn) error { return nil }, true},
		{"error", func(*Conn) error { return io.ErrNoProgress }, false},
		{"panic", func(*Conn) error { panic("oh") }, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &Pool{Wait: time.Second}
				c, server := slotted(0)
				p.Offer(c)
				err := func() (err error) {
					defer func() {
						if v := recover(); v != nil {
							err = fmt.Errorf("panicked: %v", v)
						}
					}()
					return p.Do(t.Context(), test.f)
				}()
				if (err == nil) != test.kept || isOpen(server) != test.kept || len(p.Members()) == 1 != test.kept {
					t.Errorf("Do() = %v, open: %v, members %v", err, isOpen(server), p.Members())
				}
				if len(p.leased) != 0 {
					t.Errorf("%d are leased", len(p.leased))
				}
				closePool(p)
				if err := p.Do(t.Context(), test.f); !errors.Is(err, ErrPoolClosed) {
					t.Errorf("Do() = %v, want ErrPoolClosed", err)
				}
			})
		})
	}
}

// Who has leased a connection reads what came before its end.
func TestPoolReadsToTheEnd(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{Handler: &Handler{OnConnection: func(_ context.Context, c *Conn) {
		io.ReadFull(c, make([]byte, 1))
		io.WriteString(c, "the last answer")
	}}}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	p := &Pool{Servers: map[string]string{"a": l.Addr().String()}, Size: 1}
	start(t, p)
	c, err := p.Get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	send(t, c, "x")
	eventually(t, "the pool has seen the end", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.leased[c].displaced
	})
	expectEnd(t, c, "the last answer")
	p.Put(c)
	s.Close()
	<-done
	s.wg.Wait()
}

// A server that never answers holds up neither the others nor the end.
func TestPoolBlackHole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{}
		serve(t, &Handler{}, n.listen("good"))
		hole := n.listen("hole")
		t.Cleanup(func() { hole.Close() })
		p := &Pool{Servers: map[string]string{"good": "good", "hole": "hole"}, Size: 10, Dialer: Dialer{DialContext: n.dial}}
		start(t, p)
		time.Sleep(30 * time.Second)
		if got := slotsOf(p); !slices.Equal(got, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}) {
			t.Errorf("slots %d", got)
		}
	})
}

// When its server breaks, a connection is replaced at once.
func TestPoolReplaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{}
		serve(t, &Handler{}, n.listen("a"))
		b := serve(t, &Handler{}, n.listen("b"))
		p := &Pool{Servers: map[string]string{"a": "a", "b": "b"}, Size: 10, Dialer: Dialer{DialContext: n.dial}}
		start(t, p)
		time.Sleep(time.Minute)
		b.Close()
		synctest.Wait()
		for _, m := range p.Members() {
			if m.Server != "a" {
				t.Errorf("a member of %s", m.Server)
			}
		}
		if got := slotsOf(p); len(got) != 10 {
			t.Errorf("slots %d, want 10", got)
		}
	})
}
