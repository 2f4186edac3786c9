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
)

// slotted returns a connection that has a slot, and its other end.
func slotted(slot int) (c *Conn, server net.Conn) {
	a, b := net.Pipe()
	return &Conn{Conn: a, slot: slot, gone: make(chan struct{})}, b
}

// slotsOf returns the slots of a pool's connections.
func slotsOf(p *Pool) []int {
	all := []int{}
	for _, m := range p.Members() {
		all = append(all, m.Slot)
	}
	return all
}

// closePool closes a pool on which Run was not called.
func closePool(p *Pool, leased ...*Conn) {
	p.close()
	for _, c := range leased {
		c.Close()
	}
}

// isOpen reports whether the pipe is open, by its other end.
func isOpen(server net.Conn) bool {
	server.SetReadDeadline(time.Now().Add(time.Millisecond))
	_, err := server.Read(make([]byte, 1))
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
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

// Do puts a connection back if f succeeds, and closes it otherwise.
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

// A connection that the program has closed is replaced without waiting for a probe.
func TestPoolDoFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{}
		serve(t, &Handler{}, n.listen("a"))
		p := &Pool{Servers: map[string]string{"a": "a"}, Size: 1, Dialer: Dialer{DialContext: n.dial}}
		start(t, p)
		begin := time.Now()
		for range 20 {
			if err := p.Do(t.Context(), func(*Conn) error { return io.ErrNoProgress }); !errors.Is(err, io.ErrNoProgress) {
				t.Fatalf("Do() = %v", err)
			}
		}
		if d := time.Since(begin); d != 0 {
			t.Errorf("20 requests that fail wait for %v", d)
		}
	})
}

// The holder of a leased connection can still read what came before its end.
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
	_ = s.tasks.Wait(context.Background())
}

// A server that never answers delays neither the others nor the end.
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

// When the system reports that a server has closed real connections, the pool drops them.
func TestPoolSeesEnds(t *testing.T) {
	servers := map[string]*Server{}
	p := &Pool{Servers: map[string]string{}, Size: 8, ProbeInterval: 10 * time.Millisecond}
	for _, id := range []string{"a", "b"} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		servers[id] = serve(t, &Handler{}, l)
		p.Servers[id] = l.Addr().String()
	}
	start(t, p)
	all := func(of ...string) func() bool {
		return func() bool {
			seen := map[string]bool{}
			for _, m := range p.Members() {
				seen[m.Server] = true
			}
			return len(p.Members()) == 8 && len(seen) == len(of) && seen[of[0]]
		}
	}
	eventually(t, "connections to both", all("a", "b"))
	servers["b"].Close()
	eventually(t, "connections to one", all("a"))
	p.Drop("a")
	eventually(t, "none", func() bool { return len(p.Members()) == 0 })
}

// When its server breaks a connection, the pool replaces it at once.
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

// The pool does not try useless servers over and over: one that gives a slot and closes, and one
// whose slots Accept rejects.
func TestPoolIsPatient(t *testing.T) {
	for _, test := range []struct {
		name    string
		handler *Handler
		accept  func(int) bool
	}{
		{"gives a slot and closes", &Handler{LingerTimeout: time.Millisecond, OnConnection: func(context.Context, *Conn) {}}, nil},
		{"rejected", &Handler{}, func(int) bool { return false }},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := &network{}
				serve(t, test.handler, n.listen("a"))
				p := &Pool{Servers: map[string]string{"a": "a"}, Size: 10, Dialer: Dialer{DialContext: n.dial, Accept: test.accept}}
				start(t, p)
				time.Sleep(time.Minute)
				if given := test.handler.Given(); given < 50 || given > 80*10 {
					t.Errorf("%d dials in a minute, want some in each interval", given)
				}
			})
		})
	}
}

// A full pool accepts only a lower slot than its highest.
func TestPoolRebalances(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{}
		crowded := &Handler{}
		serve(t, crowded, n.listen("a"))
		for range 50 {
			c, err := (&Dialer{DialContext: n.dial}).Dial(t.Context(), "a")
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
		}
		p := &Pool{Servers: map[string]string{"a": "a"}, Size: 10, Dialer: Dialer{DialContext: n.dial}}
		start(t, p)
		time.Sleep(10 * time.Second)
		if got := slotsOf(p); got[0] != 50 || got[9] != 59 {
			t.Errorf("slots %d, want 50 to 59", got)
		}
		serve(t, &Handler{}, n.listen("b"))
		p.Add("b", "b")
		time.Sleep(5 * time.Minute)
		if got := slotsOf(p); !slices.Equal(got, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}) {
			t.Errorf("slots %d, want 0 to 9", got)
		}
	})
}

// A pool without probes still finds a server that is back.
func TestPoolWithoutProbes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{}
		p := &Pool{Servers: map[string]string{"a": "a"}, Size: 3, ProbeInterval: -1, Dialer: Dialer{DialContext: n.dial}}
		start(t, p)
		time.Sleep(time.Minute)
		if got := slotsOf(p); len(got) != 0 {
			t.Errorf("slots %d without a server", got)
		}
		serve(t, &Handler{}, n.listen("a"))
		time.Sleep(2 * time.Second)
		if got := slotsOf(p); !slices.Equal(got, []int{0, 1, 2}) {
			t.Errorf("slots %d, want 0 to 2", got)
		}
	})
}
