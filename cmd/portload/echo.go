package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
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
begins. With http the messages are POSTs, pipelined if --depth is more than 1.`,
		Example: `  portload echo localhost:8100 --proto http --pid $(pgrep portluck)
  portload echo localhost:8100 --proto ws --clients 100 --depth 16 --size 512 --time 10s
  portload echo localhost:8100 --proto wss --insecure --count 100000 --json`,
		Args: oneAddr,
		RunE: func(cmd *cobra.Command, list []string) error {
			if err := o.plan.checkProto(protocols); err != nil {
				return err
			}
			o.endless(cmd)
			return o.run(cmd, list[0], measureEcho)
		},
	}
	o.loadFlags(cmd)
	cmd.Flags().IntVar(&o.plan.Depth, "depth", 1, "messages in flight for each client; more than 0")
	return cmd
}

// echoReport is what echo found out.
type echoReport struct {
	summary
	Clients   int64     `json:"clients"`
	Messages  int64     `json:"messages"`
	PerSecond float64   `json:"per_second"`
	PerCPU    float64   `json:"per_server_cpu_second,omitempty"`
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
			Latency: newLatencies(t.Latency), plan: &s.plan,
		}
		r.PerSecond, r.PerCPU = per(float64(t.Done), r.Seconds), r.perCPU(t.Done)
		return r, nil
	})
}

func (r *echoReport) print(w io.Writer) {
	r.printTitle(w, plural(r.plan.Conns, "client")+", "+plural(r.plan.Depth, "message")+" in flight of "+size(int64(r.plan.Size)))
	r.printRate(w, "messages", r.Messages)
	row(w, "latency", "%v", r.Latency)
	r.printRest(w)
}

// echoWorker has the connections of one process.
type echoWorker struct {
	dialer *dialer
	pumps  []*pump
	done   atomic.Int64

	mu    sync.Mutex
	tally tally
}

func (w *echoWorker) progress() int64 { return w.done.Load() }

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
	timed, cancel := w.dialer.plan.timed(ctx)
	defer cancel()
	w.tally = tally{Latency: &histogram{}}
	w.done.Store(0)
	var wg sync.WaitGroup
	for i, p := range w.pumps {
		p.left = -1
		if s.Count > 0 {
			p.left = s.Count*(i+1)/len(w.pumps) - s.Count*i/len(w.pumps)
		}
		wg.Go(func() { p.run(ctx, timed) }) // ends with timed, or when none are left
	}
	wg.Wait()
	w.tally.Done = w.done.Load()
	return w.tally, nil
}

// A pump keeps messages in flight on one connection.
type pump struct {
	*client
	worker   *echoWorker
	times    []time.Time // when the messages in flight were sent, in a ring
	received uint32      // echoes
	flying   int
	left     int      // to send; below 0 without end
	queue    chan int // how many to send, if another goroutine does that
	wrong    error    // an echo that was not the next message
}

// inline is how many bytes may be in flight when the goroutine that receives also sends: they fit
// into the buffers of a connection, so that a server that waits for us to receive does not make us
// wait too.
const inline = 32 << 10

func newPump(w *echoWorker, l *link) *pump {
	return &pump{client: newClient(l), worker: w, times: make([]time.Time, w.dialer.plan.Depth)}
}

// run sends until timed ends, or nothing is left, and receives until all echoes have come. It ends
// sooner when ctx ends, or when it fails; then the connection is of no more use.
func (p *pump) run(ctx, timed context.Context) {
	stop := context.AfterFunc(ctx, func() { _ = p.base.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	_ = p.SetDeadline(time.Time{}) // fails when it is closed; then Write says so
	var wg sync.WaitGroup
	if plan := p.worker.dialer.plan; plan.Depth*plan.Size > inline {
		p.queue = make(chan int, plan.Depth)
		wg.Go(p.write) // ends when queue is closed
	}
	err := p.pump(timed)
	if p.queue != nil {
		if err != nil {
			_ = p.base.SetDeadline(time.Unix(1, 0)) // ends a write that waits
		}
		close(p.queue)
		wg.Wait()
	}
	if err == nil || ctx.Err() != nil {
		return
	}
	p.worker.mu.Lock()
	defer p.worker.mu.Unlock()
	p.worker.tally.fail(err)
}

func (p *pump) pump(timed context.Context) error {
	plan := p.worker.dialer.plan
	if err := p.launch(plan.Depth); err != nil {
		return err
	}
	watchdog := time.AfterFunc(plan.Timeout, func() { _ = p.base.SetDeadline(time.Unix(1, 0)) })
	defer watchdog.Stop()
	for p.flying > 0 {
		before := p.flying
		err := p.receive(p.got)
		if n := before - p.flying; n > 0 {
			p.worker.done.Add(int64(n))
			watchdog.Reset(plan.Timeout)
		}
		switch {
		case p.wrong != nil:
			return p.wrong
		case errors.Is(err, io.EOF):
			return errors.New("the server closed with messages in flight")
		case errors.Is(err, os.ErrDeadlineExceeded):
			return fmt.Errorf("no echo within %v (--timeout)", plan.Timeout)
		case err != nil:
			return err
		case timed.Err() != nil:
			continue
		}
		if err := p.launch(before - p.flying); err != nil {
			return err
		}
	}
	return nil
}

// launch sends n more messages, or what is left.
func (p *pump) launch(n int) error {
	if p.left >= 0 {
		n = min(n, p.left)
		p.left -= n
	}
	if n == 0 {
		return nil
	}
	now := time.Now()
	for i := range n {
		p.times[(int(p.received)+p.flying+i)%len(p.times)] = now
	}
	p.flying += n
	if p.queue != nil {
		p.queue <- n // there is room for all that may fly
		return nil
	}
	return p.send(n, p.worker.dialer.plan.Size)
}

// write sends what the queue says, until it is closed. A connection that fails fails in pump too.
func (p *pump) write() {
	for n := range p.queue {
		if p.send(n, p.worker.dialer.plan.Size) != nil {
			p.base.Close()
			return
		}
	}
}

// got takes one echo.
func (p *pump) got(msg []byte) {
	switch {
	case p.wrong != nil:
	case p.flying == 0:
		p.wrong = fmt.Errorf("an echo came twice: %.40q", msg)
	case !isEcho(msg, p.worker.dialer.plan.Size, p.received):
		p.wrong = fmt.Errorf("echo %d is lost, out of order or not what was sent: %.40q", p.received, msg)
	default:
		p.worker.tally.Latency.record(time.Since(p.times[int(p.received)%len(p.times)]))
		p.received++
		p.flying--
	}
}
