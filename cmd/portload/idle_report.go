package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/portluck/portluck/cmd/internal/cli"
	"github.com/spf13/cobra"
)

// idleOptions are the options of idle.
type idleOptions struct {
	options
	from   int
	settle time.Duration
}

func newIdle() *cobra.Command {
	o := idleOptions{options: options{plan: plan{Command: "idle"}}}
	cmd := &cobra.Command{
		Use:   "idle ADDR",
		Short: "Connections that say nothing: what one more of them costs",
		Long: `idle opens connections, holds them, and with --pid reports what one more connection costs: the difference between
--from and --conns of them, so that fixed costs do not count.

memory    resident memory of the server
heap      the part of it that is no file's
sockets   the kernel's buffers of TCP connections, of both ends if both are on this machine (/proc/net/sockstat)
slab      the kernel's objects of the whole machine, so only exact when little else runs (/proc/meminfo)

With --rounds a line of standard input begins, and then one ends each pause, in place of --settle and --time: before it,
what was found out so far is printed. After the last report the connections stay until one more line, or the end.

A raw server may wait for the first bytes before it takes a connection for one: --line sends some. With http it is the
body of a POST, and the connection stays open after the answer. With --burst each connection then sends one message, and
the memory is reported again, at once and after --settle.`,
		Example: `  portload idle localhost:8100 --conns 10000 --pid $(pgrep portluck)
  portload idle localhost:8100 --proto wss --insecure --conns 1000 --time 1m --pid $(pgrep portluck) --json
  portload idle localhost:8100 --proto ws --conns 1000 --burst 65536 --pid $(pgrep portluck)`,
		Args: oneAddr,
		RunE: func(cmd *cobra.Command, list []string) error {
			if err := o.checkIdle(cmd); err != nil {
				return err
			}
			return o.run(cmd, list[0], o.measure)
		},
	}
	f := cmd.Flags()
	o.flags(f)
	f.StringVar(&o.plan.Proto, "proto", "tcp", "tcp, tls, http, https, ws or wss")
	f.IntVar(&o.plan.Conns, "conns", 1000, "connections; more than 0")
	f.IntVar(&o.from, "from", 0, "connections of the first measure, 0 too (default an eighth of --conns)")
	f.DurationVar(&o.plan.Time, "time", 10*time.Second, "how long to hold all of them; 0 for not at all")
	f.DurationVar(&o.settle, "settle", 3*time.Second, "how long the server has to come to rest before each measure; 0 for none")
	f.StringVar(&o.plan.Line, "line", "", "a message that each connection begins with")
	f.IntVar(&o.plan.Burst, "burst", 0, "bytes of a message that each connection sends after --time; 0 for none")
	f.BoolVar(&o.plan.Goroutines, "goroutines", false, "read with a goroutine for each connection instead of epoll")
	return cmd
}

func (o *idleOptions) checkIdle(cmd *cobra.Command) error {
	if err := o.plan.checkProto(protocols); err != nil {
		return err
	}
	if err := atLeast(cmd.Flags(), 0, "burst", "from"); err != nil {
		return err
	}
	if o.settle < 0 {
		return cli.Usage(fmt.Errorf("--settle %v: it is at least 0", o.settle))
	}
	if !cmd.Flags().Changed("from") {
		o.from = o.plan.Conns / 8
	}
	if o.from >= o.plan.Conns {
		return cli.Usage(fmt.Errorf("--from %d: it is less than --conns %d", o.from, o.plan.Conns))
	}
	return nil
}

// A point holds what the server used at one time.
type point struct {
	At      string  `json:"at"` // start, from, conns, held, burst, settled
	Conns   int64   `json:"conns"`
	RSS     int64   `json:"rss"`
	Heap    int64   `json:"heap"`
	Sockets int64   `json:"sockets"`
	Slab    int64   `json:"slab"`
	Threads int64   `json:"threads"`
	CPU     float64 `json:"cpu_seconds"`
}

// cost is the cost of one more connection, in bytes.
type cost struct {
	RSS     float64 `json:"rss"`
	Heap    float64 `json:"heap"`
	Sockets float64 `json:"sockets"`
	Slab    float64 `json:"slab"`
}

// costOf returns the difference between two points, divided by n connections.
func costOf(a, b point, n int64) *cost {
	each := func(a, b int64) float64 { return per(float64(b-a), float64(n)) }
	return &cost{each(a.RSS, b.RSS), each(a.Heap, b.Heap), each(a.Sockets, b.Sockets), each(a.Slab, b.Slab)}
}

func (c *cost) String() string {
	return fmt.Sprintf("memory %s, heap %s, sockets %s, slab %s",
		size(int64(c.RSS)), size(int64(c.Heap)), size(int64(c.Sockets)), size(int64(c.Slab)))
}

// idleReport is the report of idle.
type idleReport struct {
	summary
	Conns      int64   `json:"conns"` // that are open at the end
	Closed     int64   `json:"closed"`
	OpenPerSec float64 `json:"opened_per_second"`
	IdleSecs   float64 `json:"idle_seconds"`
	IdleCPU    float64 `json:"idle_cpu_seconds"`
	Each       *cost   `json:"per_conn,omitempty"`
	Burst      *cost   `json:"burst_per_conn,omitempty"`   // more than before it
	Settled    *cost   `json:"settled_per_conn,omitempty"` // likewise
	Points     []point `json:"points,omitempty"`
}

// A stage is a pause, then a step, then a point of this name.
type stage struct {
	wait time.Duration
	step step
	at   string
}

// stages returns the stages of idle, in order.
func (o *idleOptions) stages() []stage {
	all := []stage{
		{0, step{Do: "open", Conns: o.from}, ""},
		{o.settle, step{}, "from"},
		{0, step{Do: "open", Conns: o.plan.Conns}, ""},
		{o.settle, step{}, "conns"},
		{o.plan.Time, step{}, "held"},
	}
	if o.plan.Burst > 0 {
		all = append(all, stage{0, step{Do: "burst"}, "burst"}, stage{o.settle, step{}, "settled"})
	}
	return all
}

// measure runs the stages until ctx ends. With --rounds a line begins them and a line ends each
// pause, before which measure publishes what it knows. The connections stay until the line after
// the last report.
func (o *idleOptions) measure(ctx context.Context, s *session) error {
	if !s.next(ctx) {
		return nil
	}
	s.begin()
	m := &idleRun{session: s, points: []point{s.point("start", 0)}}
	for _, g := range o.stages() {
		if ctx.Err() != nil {
			break
		}
		begin := time.Now()
		if s.rounds && g.step.Do == "" {
			if err := s.publish(ctx, m.report()); err != nil || !s.next(ctx) {
				return err
			}
			g.wait = 0
		}
		if err := m.do(ctx, g, begin); err != nil {
			return err
		}
	}
	err := s.publish(ctx, m.report())
	if s.rounds {
		s.next(ctx)
	}
	return err
}

// An idleRun holds the results so far.
type idleRun struct {
	*session
	sum     tally
	opening time.Duration
	held    time.Duration
	points  []point
}

// do runs one stage, which began at begin.
func (m *idleRun) do(ctx context.Context, g stage, begin time.Time) error {
	pause(ctx, g.wait)
	t, err := m.crew.do(ctx, g.step)
	if err != nil {
		return err
	}
	m.sum.add(tally{Failed: t.Failed, Error: t.Error})
	m.sum.Conns, m.sum.Closed = t.Conns, t.Closed
	switch {
	case g.step.Do == "open":
		m.opening += time.Since(begin)
	case g.at == "held":
		m.held = time.Since(begin)
	}
	if g.at != "" {
		m.points = append(m.points, m.point(g.at, t.Conns))
	}
	return nil
}

func (m *idleRun) report() *idleReport {
	r := &idleReport{
		summary: m.summary(&m.sum), Conns: m.sum.Conns, Closed: m.sum.Closed,
		OpenPerSec: per(float64(m.sum.Conns+m.sum.Closed), m.opening.Seconds()), IdleSecs: m.held.Seconds(),
	}
	if m.pid != 0 {
		r.Points = m.points
	}
	r.compare()
	return r
}

// pause waits for d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

func (s *session) point(at string, conns int64) point {
	u := s.usage()
	return point{at, conns, u.RSS, u.Anon, u.Sockets, u.Slab, u.Threads, u.CPU}
}

// compare computes the differences between the points of r.
func (r *idleReport) compare() {
	at := map[string]point{}
	for _, p := range r.Points {
		at[p.At] = p
	}
	from, full, held := at["from"], at["conns"], at["held"]
	if full.At != "" {
		r.Each = costOf(from, full, full.Conns-from.Conns)
	}
	if held.At != "" {
		r.IdleCPU = held.CPU - full.CPU
	}
	if p := at["burst"]; p.At != "" {
		r.Burst = costOf(held, p, p.Conns)
	}
	if p := at["settled"]; p.At != "" {
		r.Settled = costOf(held, p, p.Conns)
	}
}

// failure returns an error if something failed, or if the server closed connections.
func (r *idleReport) failure() error {
	if err := r.summary.failure(); err != nil {
		return err
	}
	if r.Closed > 0 {
		return fmt.Errorf("the server closed %s", plural(int(r.Closed), "connection"))
	}
	return nil
}

func (r *idleReport) print(w io.Writer) {
	r.printTitle(w, plural(int(r.Conns), "connection"))
	row(w, "opened", "%d, %.0f/s", r.Conns+r.Closed, r.OpenPerSec)
	if r.Closed > 0 {
		row(w, "closed", "%d by the server", r.Closed)
	}
	for _, p := range r.Points {
		row(w, p.At, "%d conns: memory %s, heap %s, sockets %s, slab %s, %d threads",
			p.Conns, size(p.RSS), size(p.Heap), size(p.Sockets), size(p.Slab), p.Threads)
	}
	if r.Each != nil {
		row(w, "one more", "%v", r.Each)
		row(w, "idle", "CPU %.2f s in %.1f s", r.IdleCPU, r.IdleSecs)
	}
	if r.Burst != nil {
		row(w, "burst", "%v more for each", r.Burst)
	}
	if r.Settled != nil {
		row(w, "settled", "%v more for each", r.Settled)
	}
	r.printRest(w)
}
