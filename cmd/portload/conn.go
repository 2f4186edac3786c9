package main

import (
	"context"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
)

func newConn() *cobra.Command {
	o := options{plan: plan{Command: "conn"}}
	cmd := &cobra.Command{
		Use:   "conn ADDR",
		Short: "Short connections: connect, send a line, read its echo, close",
		Long: `conn makes short connections to an echo server as fast as it can: each connects, shakes hands, sends one message, reads
its echo and closes. It reports how many there were a second, and how long one took from the first packet to the echo.

A port that was closed waits for a minute before it can connect to the same address again. Towards this machine conn
uses several local addresses; towards another one, --reset closes in a way that frees the port at once.`,
		Example: `  portload conn localhost:8100 --pid $(pgrep portluck)
  portload conn localhost:8100 --proto tls --insecure --clients 20 --time 10s
  portload conn localhost:8100 --proto ws --count 10000 --json`,
		Args: oneAddr,
		RunE: func(cmd *cobra.Command, list []string) error {
			if err := o.plan.checkLoad(); err != nil {
				return err
			}
			o.endless(cmd)
			return o.run(cmd, list[0], measureConn)
		},
	}
	o.loadFlags(cmd)
	cmd.Flags().BoolVar(&o.plan.Reset, "reset", false, "close with RST instead of FIN")
	return cmd
}

// loadFlags adds the flags that conn and echo share.
func (o *options) loadFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	o.flags(f)
	f.StringVar(&o.plan.Proto, "proto", "tcp", "tcp, tls, http (POST), https, ws or wss")
	f.IntVar(&o.plan.Conns, "clients", 10, "connections at once; more than 0")
	f.IntVar(&o.plan.Size, "size", 64, "bytes of a message; more than 0")
	f.BoolVar(&o.plan.Get, "get", false, "http and https: GET --path instead of POST; any answer with status 2xx counts")
	f.DurationVar(&o.plan.Time, "time", 5*time.Second, "how long to measure; 0 until Ctrl-C")
	f.IntVar(&o.plan.Count, "count", 0, "end after this many instead of after --time; 0 for any number")
}

// endless removes the default of --time if --count is given.
func (o *options) endless(cmd *cobra.Command) {
	if o.plan.Count > 0 && !cmd.Flags().Changed("time") {
		o.plan.Time = 0
	}
}

// connReport is the report of conn.
type connReport struct {
	summary
	Connections int64     `json:"connections"`
	PerSecond   float64   `json:"per_second"`
	PerCPU      float64   `json:"per_server_cpu_second,omitempty"`
	Latency     latencies `json:"latency_seconds"`
	clients     int
}

func measureConn(ctx context.Context, s *session) error {
	return s.each(ctx, func() (report, error) {
		s.begin()
		t, err := s.crew.do(ctx, step{Do: "run", Conns: s.plan.Conns, Count: s.plan.Count})
		if err != nil {
			return nil, err
		}
		r := &connReport{summary: s.summary(&t), Connections: t.Done, Latency: newLatencies(t.Latency), clients: s.plan.Conns}
		r.PerSecond, r.PerCPU = per(float64(t.Done), r.Seconds), r.perCPU(t.Done)
		return r, nil
	})
}

func (r *connReport) print(w io.Writer) {
	r.printTitle(w, plural(r.clients, "client"))
	r.printRate(w, "connections", r.Connections)
	row(w, "latency", "%v", r.Latency)
	r.printRest(w)
}

// connWorker makes short connections.
type connWorker struct {
	dialer *dialer
	done   atomic.Int64
	left   atomic.Int64 // of --count

	mu    sync.Mutex
	tally tally
}

func (w *connWorker) progress() tally {
	w.mu.Lock()
	defer w.mu.Unlock()
	return tally{Done: w.done.Load(), Latency: w.tally.Latency}
}

func (w *connWorker) close() {}

func (w *connWorker) do(ctx context.Context, s step) (tally, error) {
	timed, cancel := w.dialer.plan.timed(ctx)
	defer cancel()
	w.mu.Lock()
	w.tally = tally{Latency: &histogram{}}
	w.mu.Unlock()
	w.done.Store(0)
	w.left.Store(int64(s.Count))
	var wg sync.WaitGroup
	for range s.Conns {
		wg.Go(func() { w.loop(ctx, timed, s.Count > 0) }) // ends with timed, or when none are left
	}
	wg.Wait()
	w.tally.Done = w.done.Load()
	return w.tally, nil
}

// failurePause is the pause of a client after a connection that failed.
const failurePause = 10 * time.Millisecond

// loop makes one connection after another until timed or ctx ends.
func (w *connWorker) loop(ctx, timed context.Context, counted bool) {
	for timed.Err() == nil && (!counted || w.left.Add(-1) >= 0) {
		start := time.Now()
		err := w.once(ctx)
		switch {
		case err == nil:
			w.tally.Latency.record(time.Since(start))
			w.done.Add(1)
		case ctx.Err() == nil:
			w.mu.Lock()
			w.tally.fail(err)
			w.mu.Unlock()
			time.Sleep(failurePause)
		}
	}
}

func (w *connWorker) once(ctx context.Context) error {
	l, err := w.dialer.dial(ctx)
	if err != nil {
		return err
	}
	defer l.drop(w.dialer.plan.Reset)
	return newClient(l).roundTrip(ctx, w.dialer.plan, uint32(w.done.Load())) //nolint:gosec // any number will do
}
