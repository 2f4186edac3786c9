package callosum

import (
	"context"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

var simulated = flag.Int("clients", 60, "of TestSimulation")

// TestSimulation shows that the load spreads. It runs thousands of clients with a [Pool] each, over
// a network in memory and in simulated time, while servers come and go. go test -run Simulation -v
// -args -clients 2000 prints the table.
func TestSimulation(t *testing.T) {
	t.Parallel()
	clients := *simulated
	for _, test := range []struct {
		name   string
		slots  bool
		spread func(r row) bool
	}{
		{"by slots", true, func(r row) bool { return r.conns < 1.1 && r.requests < 1.6 }},
		// The load spreads only because of the slots.
		{"every slot is 0", false, func(r row) bool { return r.step == "four servers" || r.conns > 1.15 }},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &simulation{t: t, byslots: test.slots, hosts: map[string]*host{}}
				s.run(clients)
				for _, row := range s.rows {
					if !test.spread(row) {
						t.Errorf("%s: the busiest server has %.2f times the mean in connections, %.2f in requests", row.step, row.conns, row.requests)
					}
				}
			})
		})
	}
}

// simulation has some servers and many clients, each of which uses all servers.
type simulation struct {
	t       *testing.T
	byslots bool
	net     network
	hosts   map[string]*host
	pools   []*Pool
	rows    []row
}

// host is a server that may be lost and come back.
type host struct {
	handler *Handler
	server  *Server // nil while it is lost

	mu       sync.Mutex
	requests int
}

// row is the state after a step.
type row struct {
	step            string
	conns, requests float64 // of the busiest server, divided by the mean
}

// The parameters of each client.
const (
	poolSize     = 4
	probeEvery   = 5 * time.Second
	requestEvery = 2 * time.Second // on average
	settle       = 90 * time.Second
	measured     = 30 * time.Second
	answerTime   = 20 * time.Millisecond
)

func (s *simulation) run(clients int) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	s.printf("%d clients with %d connections each, a probe every %v, a request every %v; %v after each step", clients, poolSize, probeEvery, requestEvery, settle)
	s.printf("| step | connections of A, B, C, D, E | requests in %v | busiest / mean |", measured)
	s.printf("|---|---|---|---|")
	for _, name := range []string{"A", "B", "C", "D"} {
		s.up(name)
	}
	for range clients {
		p := &Pool{Size: poolSize, ProbeInterval: probeEvery, Servers: map[string]string{}, Dialer: Dialer{DialContext: s.net.dial}}
		for name := range s.hosts {
			p.Servers[name] = name
		}
		s.pools = append(s.pools, p)
		wg.Go(func() { _ = p.Run(ctx) })
		wg.Go(func() { s.ask(ctx, p) })
	}
	for _, step := range []struct {
		name string
		do   func()
	}{
		{"four servers", func() {}},
		{"E is added", func() { s.up("E"); s.add("E") }},
		{"A is lost", func() { s.down("A") }},
		{"A is back", func() { s.up("A") }},
		{"B and C are lost", func() { s.down("B"); s.down("C") }},
		{"B and C are back", func() { s.up("B"); s.up("C") }},
		{"all are started anew", func() {
			for name := range s.hosts {
				s.down(name)
				s.up(name)
			}
		}},
	} {
		step.do()
		time.Sleep(settle)
		s.measure(step.name)
	}
	cancel()
	wg.Wait()
	for name, h := range s.hosts {
		if h.server != nil {
			s.down(name)
		}
	}
}

// ask sends requests until ctx ends.
func (s *simulation) ask(ctx context.Context, p *Pool) {
	for {
		t := time.NewTimer(time.Duration(rand.ExpFloat64() * float64(requestEvery)))
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return
		}
		_ = p.Do(ctx, func(c *Conn) error {
			if _, err := c.Write([]byte("?")); err != nil {
				return err
			}
			_, err := io.ReadFull(c, make([]byte, 1))
			return err
		})
	}
}

// serve answers requests.
func (h *host) serve(_ context.Context, c *Conn) {
	for {
		if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
			return
		}
		time.Sleep(answerTime)
		h.mu.Lock()
		h.requests++
		h.mu.Unlock()
		if _, err := c.Write([]byte("!")); err != nil {
			return
		}
	}
}

// up starts the server name.
func (s *simulation) up(name string) {
	h := &host{}
	h.handler = &Handler{OnConnection: h.serve}
	if !s.byslots {
		h.handler.OnSlotRequest = func(context.Context) (int, error) { return 0, nil }
	}
	h.server = &Server{Handler: h.handler}
	s.hosts[name] = h
	l := s.net.listen(name)
	go func() { _ = h.server.Serve(l) }() // ends with down
}

// down breaks the server name.
func (s *simulation) down(name string) {
	h := s.hosts[name]
	h.server.Close()
	_ = h.server.tasks.Wait(context.Background())
	h.server = nil
}

func (s *simulation) add(name string) {
	for _, p := range s.pools {
		p.Add(name, name)
	}
}

// measure counts requests for a while, and adds a row.
func (s *simulation) measure(step string) {
	for _, h := range s.hosts {
		h.mu.Lock()
		h.requests = 0
		h.mu.Unlock()
	}
	time.Sleep(measured)
	var connCells, requestCells []string
	var conns, requests, n, mostConns, mostRequests float64
	for _, name := range []string{"A", "B", "C", "D", "E"} {
		h := s.hosts[name]
		if h == nil || h.server == nil {
			connCells, requestCells = append(connCells, "-"), append(requestCells, "-")
			continue
		}
		h.mu.Lock()
		c, r := float64(len(h.handler.Conns())), float64(h.requests)
		h.mu.Unlock()
		n, conns, requests = n+1, conns+c, requests+r
		mostConns, mostRequests = max(mostConns, c), max(mostRequests, r)
		connCells, requestCells = append(connCells, fmt.Sprint(c)), append(requestCells, fmt.Sprint(r))
	}
	out := row{step, mostConns * n / max(conns, 1), mostRequests * n / max(requests, 1)}
	s.rows = append(s.rows, out)
	s.printf("| %s | %s | %s | %.2f, %.2f |", step, strings.Join(connCells, ", "), strings.Join(requestCells, ", "), out.conns, out.requests)
}

func (s *simulation) printf(format string, args ...any) {
	fmt.Fprintf(s.t.Output(), format+"\n", args...)
}
