package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/portluck/portluck/cmd/internal/cli"
	"github.com/spf13/cobra"
)

// fanoutOptions are the options of fanout.
type fanoutOptions struct {
	options
	rate   float64
	window int
	batch  int
	settle time.Duration
}

func newFanout() *cobra.Command {
	o := fanoutOptions{options: options{plan: plan{Command: "fanout"}}}
	cmd := &cobra.Command{
		Use:   "fanout ADDR",
		Short: "One publishes, many receive: deliveries a second, and what was lost",
		Long: `fanout connects members to a server that sends each message to all, and one more client that publishes. A message is
sent when every member has the one before. With --window 40 that many may be on their way, with --window 0 as many as
the server takes; --rate sends them at a pace, and --batch several in one write. Each carries a number and the time:
fanout counts what a member did not get (lost; in how many gaps), got twice (doubled), or got after a later one (late),
and the members that the server disconnected. A member of --stuck never reads.

It begins when every member has received a first message. A raw member says nothing, unless --join gives it a line;
note that a chat room sends that to all who are there.`,
		Example: `  portload fanout localhost:8100 --members 1000 --pid $(pgrep portluck)
  portload fanout localhost:8100 --proto ws --members 200 --rate 1000 --time 10s
  portload fanout localhost:8100 --members 50 --stuck 2 --window 0 --count 100000 --json`,
		Args: oneAddr,
		RunE: func(cmd *cobra.Command, list []string) error {
			if err := o.checkFanout(cmd); err != nil {
				return err
			}
			return o.run(cmd, list[0], o.measure)
		},
	}
	f := cmd.Flags()
	o.flags(f)
	f.StringVar(&o.plan.Proto, "proto", "tcp", "tcp or ws")
	f.IntVar(&o.plan.Conns, "members", 100, "members, with those of --stuck; more than 0")
	f.IntVar(&o.plan.Stuck, "stuck", 0, "members that never read; 0 for none")
	f.IntVar(&o.plan.Size, "size", 64, fmt.Sprintf("bytes of a message; more than %d", markSize-1))
	f.DurationVar(&o.plan.Time, "time", 5*time.Second, "how long to publish; 0 until Ctrl-C")
	f.IntVar(&o.plan.Count, "count", 0, "messages to publish, instead of --time; 0 for any number")
	f.Float64Var(&o.rate, "rate", 0, "messages a second, and --window 0 if it is not given; 0 for no pace")
	f.IntVar(&o.window, "window", 1, "messages that not every member has yet; 0 for any number")
	f.IntVar(&o.batch, "batch", 1, "messages in one write, at most --window; more than 0")
	f.IntVar(&o.plan.Buffer, "stuck-buffer", 0, "bytes that the kernel takes for a member of --stuck, on Linux; 0 for its own bound")
	f.DurationVar(&o.settle, "settle", 2*time.Second, "what has not come when nothing came for this long is lost; more than 0")
	f.StringVar(&o.plan.Line, "join", "", "a message that each member begins with")
	f.BoolVar(&o.plan.Goroutines, "goroutines", false, "read with a goroutine for each member instead of epoll")
	return cmd
}

func (o *fanoutOptions) checkFanout(cmd *cobra.Command) error {
	o.endless(cmd)
	if err := o.plan.checkProto([]string{"tcp", "ws"}); err != nil {
		return err
	}
	if err := atLeast(cmd.Flags(), markSize, "size"); err != nil {
		return err
	}
	if err := atLeast(cmd.Flags(), 0, "window", "stuck-buffer"); err != nil {
		return err
	}
	if o.rate > 0 && !cmd.Flags().Changed("window") {
		o.window = 0
	}
	switch {
	case o.rate < 0:
		return cli.Usage(fmt.Errorf("--rate %v: it is at least 0", o.rate))
	case o.batch < 1 || o.window > 0 && o.batch > o.window:
		return cli.Usage(fmt.Errorf("--batch %d: it is at least 1 and at most --window %d", o.batch, o.window))
	case o.settle <= 0:
		return cli.Usage(fmt.Errorf("--settle %v: it is more than 0", o.settle))
	case o.plan.Stuck < 0 || o.plan.Stuck >= o.plan.Conns:
		return cli.Usage(fmt.Errorf("--stuck %d: it is less than --members %d", o.plan.Stuck, o.plan.Conns))
	}
	return nil
}

// fanoutReport is the report of fanout.
type fanoutReport struct {
	summary
	Members      int64     `json:"members"` // that are connected at the end and read
	Published    int64     `json:"published"`
	Deliveries   int64     `json:"deliveries"`
	PerSecond    float64   `json:"per_second"`
	PerCPU       float64   `json:"per_server_cpu_second,omitempty"`
	Latency      latencies `json:"latency_seconds"`
	Lost         int64     `json:"lost"`
	Gaps         int64     `json:"gaps"`
	Doubled      int64     `json:"doubled"`
	Late         int64     `json:"late"`
	Disconnected int64     `json:"disconnected"`
	Missed       int64     `json:"missed"` // by the disconnected
	StuckClosed  int64     `json:"stuck_disconnected"`
	Stalls       int64     `json:"stalls"`
}

func (o *fanoutOptions) measure(ctx context.Context, s *session) error {
	opened, err := s.crew.do(ctx, step{Do: "open", Conns: s.plan.Conns, Stuck: s.plan.Stuck})
	if err != nil {
		return err
	}
	if opened.Failed > 0 {
		return fmt.Errorf("%d of %d members did not connect: %s", opened.Failed, s.plan.Conns, opened.Error)
	}
	p, err := newPublisher(ctx, s)
	if err != nil {
		return err
	}
	defer p.watcher.close()
	if err := p.gather(ctx); err != nil {
		return err
	}
	return s.each(ctx, func() (report, error) { return o.once(ctx, s, p) })
}

// once publishes one round and counts the deliveries.
func (o *fanoutOptions) once(ctx context.Context, s *session, p *publisher) (report, error) {
	var sum tally
	s.begin()
	timed, cancel := o.plan.timed(ctx)
	defer cancel()
	if err := p.publish(timed, o); err != nil {
		sum.fail(err)
	}
	p.drain(context.WithoutCancel(ctx), o.settle)
	end := s.summary(&sum)
	t, err := s.crew.do(ctx, step{Do: "finish", Sent: p.sent, Again: s.rounds})
	if err != nil {
		return nil, err
	}
	d := t.Delivery
	if d.Last > 0 {
		end.Seconds = time.Unix(0, d.Last).Sub(s.start).Seconds()
	}
	r := &fanoutReport{
		summary: end, Members: t.Conns, Published: p.sent - p.start, Deliveries: d.Messages, Latency: newLatencies(t.Latency),
		Lost: d.Lost, Gaps: d.Gaps, Doubled: d.Doubled, Late: d.Late,
		Disconnected: d.Gone, Missed: d.Missed, StuckClosed: d.StuckClosed, Stalls: p.stalls,
	}
	r.PerSecond, r.PerCPU = per(float64(d.Messages), r.Seconds), r.perCPU(d.Messages)
	return r, nil
}

// failure returns an error if something failed, or did not arrive once and in order.
func (r *fanoutReport) failure() error {
	if err := r.summary.failure(); err != nil {
		return err
	}
	if r.Lost+r.Doubled+r.Late+r.Disconnected > 0 {
		return fmt.Errorf("%d lost, %d doubled, %d late, %s disconnected", r.Lost, r.Doubled, r.Late, plural(int(r.Disconnected), "member"))
	}
	return nil
}

func (r *fanoutReport) print(w io.Writer) {
	r.printTitle(w, plural(int(r.Members), "member"))
	row(w, "published", "%d, %.0f/s", r.Published, per(float64(r.Published), r.Seconds))
	r.printRate(w, "deliveries", r.Deliveries)
	row(w, "latency", "%v", r.Latency)
	row(w, "wrong", "%d lost in %d gaps, %d doubled, %d late", r.Lost, r.Gaps, r.Doubled, r.Late)
	if r.Disconnected+r.StuckClosed+r.Stalls > 0 {
		row(w, "members", "%d disconnected, who missed %d; %d stuck ones disconnected; %d stalls",
			r.Disconnected, r.Missed, r.StuckClosed, r.Stalls)
	}
	r.printRest(w)
}
