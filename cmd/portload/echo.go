package main

import (
	"context"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
)

func newEcho() *cobra.Command {
	o := options{plan: plan{Command: "echo"}}
	cmd := &cobra.Command{
		Use:   "echo ADDR",
		Short: "Clients with messages in flight: messages a second, and their latency",
		Long: `echo connects clients to an echo server; each has --depth messages in flight and sends another one for each echo. Every
echo is checked: it must have the number of the message and be as long. The connections are made before the measure
begins. With http the messages are POSTs, pipelined if --depth is more than 1. With --get they are GETs of --path, and
an answer with status 2xx counts, whatever it says: that measures a page.

A client that waits for an echo before it sends again is kind to a server that stalls: what it would have sent meanwhile
is missing from the latencies (coordinated omission). With --rate that many messages a second are due, spread evenly
over the clients, whether echoes come or not. The latency of a message counts from when it was due. A client has at most
--depth messages in flight; what is due beyond that waits, and none is skipped. A message that has not been sent when
--time is over counts as unsent, with the time it has waited as its latency.`,
		Example: `  portload echo localhost:8100 --proto http --pid $(pgrep portluck)
  portload echo localhost:8100 --proto ws --clients 100 --depth 16 --size 512 --time 10s
  portload echo localhost:8100 --clients 64 --rate 20000 --time 30s
  portload echo localhost:8100 --proto http --get --path /index.html
  portload echo localhost:8100 --proto wss --insecure --count 100000 --json`,
		Args: oneAddr,
		RunE: func(cmd *cobra.Command, list []string) error {
			if err := o.plan.checkLoad(); err != nil {
				return err
			}
			o.endless(cmd)
			return o.run(cmd, list[0], measureEcho)
		},
	}
	o.loadFlags(cmd)
	cmd.Flags().IntVar(&o.plan.Depth, "depth", 1, "messages in flight for each client; more than 0")
	cmd.Flags().Float64Var(&o.plan.Rate, "rate", 0, "messages a second, of all clients; 0 for as many as echoes let them send")
	return cmd
}

// echoReport is the report of echo.
type echoReport struct {
	summary
	Clients   int64     `json:"clients"`
	Messages  int64     `json:"messages"`
	PerSecond float64   `json:"per_second"`
	PerCPU    float64   `json:"per_server_cpu_second,omitempty"`
	Asked     float64   `json:"rate_asked,omitempty"`
	Reached   float64   `json:"rate_reached,omitempty"`
	Unsent    int64     `json:"unsent,omitempty"` // messages that were due
	Latency   latencies `json:"latency_seconds"`
	plan      *plan
}

func measureEcho(ctx context.Context, s *session) error {
	opened, err := s.crew.do(ctx, step{Do: "open", Conns: s.plan.Conns})
	if err != nil {
		return err
	}
	return s.each(ctx, func() (report, error) {
		s.begin()
		t, err := s.crew.do(ctx, step{Do: "run", Count: s.plan.Count})
		if err != nil {
			return nil, err
		}
		t.add(tally{Failed: opened.Failed, Error: opened.Error})
		r := &echoReport{
			summary: s.summary(&t), Clients: opened.Conns, Messages: t.Done,
			Asked: s.plan.Rate, Unsent: t.Unsent, Latency: newLatencies(t.Latency), plan: &s.plan,
		}
		r.PerSecond, r.PerCPU = per(float64(t.Done), r.Seconds), r.perCPU(t.Done)
		if r.Asked > 0 {
			r.Reached = r.PerSecond
		}
		return r, nil
	})
}

func (r *echoReport) print(w io.Writer) {
	r.printTitle(w, plural(r.plan.Conns, "client")+", "+plural(r.plan.Depth, "message")+" in flight of "+size(int64(r.plan.Size)))
	r.printRate(w, "messages", r.Messages)
	if r.Asked > 0 {
		row(w, "rate", "asked %.0f/s, reached %.0f/s", r.Asked, r.Reached)
	}
	if r.Unsent > 0 {
		row(w, "unsent", "%d messages were due: ask for a lower --rate, or give more --clients or --depth", r.Unsent)
	}
	row(w, "latency", "%v", r.Latency)
	r.printRest(w)
}

// echoWorker has the connections of one process.
type echoWorker struct {
	dialer  *dialer
	sleep   func(ctx context.Context, d time.Duration) // waits for d, or until ctx ends
	pumps   []*pump
	done    atomic.Int64
	skipped atomic.Int64 // messages that were due and are not sent

	mu    sync.Mutex
	tally tally
}

func (w *echoWorker) progress() tally {
	w.mu.Lock()
	defer w.mu.Unlock()
	return tally{Done: w.done.Load(), Latency: w.tally.Latency}
}

func (w *echoWorker) close() {
	for _, p := range w.pumps {
		p.drop(false)
	}
}

func (w *echoWorker) do(ctx context.Context, s step) (tally, error) {
	if s.Do == "open" {
		t := w.dialer.dialAll(ctx, s.Conns, func(l *link) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.pumps = append(w.pumps, newPump(w, l))
			return nil
		})
		t.Conns = int64(len(w.pumps))
		return t, nil
	}
	w.mu.Lock()
	w.tally = tally{Latency: &histogram{}}
	w.mu.Unlock()
	w.done.Store(0)
	w.skipped.Store(0)
	if len(w.pumps) > 0 {
		w.run(ctx, s.Count)
	}
	w.tally.Done, w.tally.Unsent = w.done.Load(), w.skipped.Load()
	return w.tally, nil
}

// run sends count messages in all, or any number if count is 0.
func (w *echoWorker) run(ctx context.Context, count int) {
	plan := w.dialer.plan
	var s *schedule
	if plan.Rate > 0 {
		s = newSchedule(plan, len(w.pumps))
	}
	timed, cancel := plan.timed(ctx)
	defer cancel()
	for i, p := range w.pumps {
		part := -1
		if count > 0 {
			part = count*(i+1)/len(w.pumps) - count*i/len(w.pumps)
		}
		p.begin(part, s, i)
	}
	var wg sync.WaitGroup
	for _, p := range w.pumps {
		wg.Go(func() { p.run(ctx, timed) }) // ends with timed, or when none are left
	}
	if s != nil {
		w.pace(timed, s, s.messages(count, plan.Time))
	}
	wg.Wait()
}
