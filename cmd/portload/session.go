package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/portluck/portluck/cmd/internal/cli"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// options are the flags of every command, and the plan that they and the command's own make.
type options struct {
	plan  plan
	pid   int
	json  bool
	files int
	// rounds measures once for each line of the input.
	rounds bool
}

func (o *options) flags(f *pflag.FlagSet) {
	f.IntVar(&o.pid, "pid", 0, "process of the server, on this machine: report its CPU time and memory too; 0 for none")
	f.BoolVar(&o.json, "json", false, "print the report as one JSON object: see portload help json")
	f.BoolVar(&o.rounds, "rounds", false, "measure once for each line of standard input, on the same connections: a report for each")
	f.IntVar(&o.files, "files", 20_000, "descriptors a process may have; more connections make more processes; more than "+strconv.Itoa(spare))
	f.IntVar(&o.plan.LocalIPs, "local-ips", 0, "connect from this many addresses 127.x.y.z in turn; 0 for as many as the ports need")
	f.DurationVar(&o.plan.Timeout, "timeout", 10*time.Second, "longest wait for a handshake, an answer or a delivery; more than 0")
	f.BoolVar(&o.plan.Insecure, "insecure", false, "do not check the server's certificate")
	f.StringVar(&o.plan.CA, "ca", "", "trust the certificates in this PEM file only (default those of the system)")
	f.StringVar(&o.plan.Path, "path", "/", "path of HTTP and WebSocket requests")
}

// atLeast returns an error if one of these flags is less than least. It ignores flags that the
// command does not have.
func atLeast(f *pflag.FlagSet, least int, names ...string) error {
	for _, name := range names {
		if n, err := f.GetInt(name); err == nil && n < least {
			return cli.Usage(fmt.Errorf("--%s %d: it is at least %d", name, n, least))
		}
	}
	return nil
}

// check checks the flags that all commands share.
func (o *options) check(f *pflag.FlagSet) error {
	if err := atLeast(f, 0, "pid", "local-ips", "count"); err != nil {
		return err
	}
	if o.plan.Time < 0 {
		return cli.Usage(fmt.Errorf("--time %v: it is at least 0", o.plan.Time))
	}
	if err := atLeast(f, spare+1, "files"); err != nil {
		return err
	}
	if o.plan.Timeout <= 0 {
		return cli.Usage(fmt.Errorf("--timeout %v: it is more than 0", o.plan.Timeout))
	}
	return atLeast(f, 1, "clients", "depth", "size", "conns", "members")
}

// A report holds the results of a command.
type report interface {
	// common returns the fields that every report has.
	common() *summary
	// print writes the report as text.
	print(w io.Writer)
	// failure returns the reason of exit code 1, or nil.
	failure() error
}

// A session is one run of a command.
type session struct {
	*options
	crew   *crew
	out    io.Writer
	lines  <-chan struct{} // one for each line of the input, with --rounds
	quiet  func()          // ends the lines of progress
	server usage           // at the start of what is measured
	client float64         // CPU seconds then
	start  time.Time
}

// run starts the workers and calls measure, which measures and publishes. The caller has checked
// the plan.
func (o *options) run(cmd *cobra.Command, addr string, measure func(context.Context, *session) error) error {
	ctx := cmd.Context()
	if err := o.check(cmd.Flags()); err != nil {
		return err
	}
	if err := o.plan.resolve(ctx, addr); err != nil {
		return err
	}
	o.files = max(min(o.files, descriptors()), spare+1)
	if o.pid > 0 {
		if _, err := usageOf(o.pid); err != nil {
			return err
		}
	}
	if err := o.try(ctx); err != nil {
		return err
	}
	c, err := hire(&o.plan, o.plan.Conns, o.files)
	if err != nil {
		return err
	}
	defer c.close()
	s := &session{options: o, crew: c, out: cmd.OutOrStdout()}
	if o.rounds {
		s.lines = readLines(ctx, cmd.InOrStdin())
	}
	s.quiet = func() {}
	if !o.json && cli.IsTerminal(os.Stderr) {
		s.quiet = sync.OnceFunc(s.tell(os.Stderr))
	}
	defer s.quiet()
	return measure(ctx, s)
}

// readLines returns a channel with a value for each line of r. It closes the channel at the end of
// r, or of ctx.
func readLines(ctx context.Context, r io.Reader) <-chan struct{} {
	c := make(chan struct{})
	go func() { // ends with r, or with the process
		defer close(c)
		for lines := bufio.NewScanner(r); lines.Scan(); {
			select {
			case c <- struct{}{}:
			case <-ctx.Done():
				return
			}
		}
	}()
	return c
}

// next reports whether there is something to measure. With --rounds it waits for a line.
func (s *session) next(ctx context.Context) bool {
	if !s.rounds {
		return true
	}
	select {
	case _, ok := <-s.lines:
		return ok
	case <-ctx.Done():
		return false
	}
}

// each measures and publishes once, or with --rounds once for each line. It ends at the first
// failure.
func (s *session) each(ctx context.Context, measure func() (report, error)) error {
	for s.next(ctx) {
		r, err := measure()
		if err == nil {
			err = s.publish(ctx, r)
		}
		if err != nil || !s.rounds {
			return err
		}
	}
	return nil
}

// publish prints r and returns its failure.
func (s *session) publish(ctx context.Context, r report) error {
	s.quiet()
	r.common().Interrupted = ctx.Err() != nil
	if !s.json {
		r.print(s.out)
		return r.failure()
	}
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(s.out, "%s\n", b); err != nil {
		return err
	}
	return r.failure()
}

// try makes one connection, so that an absent server is one clear error.
func (o *options) try(ctx context.Context) error {
	one := o.plan
	one.LocalIPs = 1
	d, err := newDialer(&one)
	if err != nil {
		return err
	}
	l, err := d.dial(ctx)
	if op := (*net.OpError)(nil); err != nil && !errors.As(err, &op) {
		err = fmt.Errorf("%s: %w", o.plan.Host, err)
	}
	if err != nil {
		return err
	}
	defer l.drop(false)
	if o.plan.Command != "conn" && o.plan.Command != "echo" {
		return nil
	}
	return newClient(l).roundTrip(ctx, &o.plan, 0)
}

// begin records what the server and portload have used until now.
func (s *session) begin() {
	s.server, s.client, s.start = s.usage(), s.clientCPU(), time.Now()
}

// usage returns the usage of the server; the zero value without --pid, or if the server has ended.
func (s *session) usage() usage {
	if s.pid == 0 {
		return usage{}
	}
	u, _ := usageOf(s.pid) // what it did before it ended is reported all the same
	return u
}

// clientCPU returns the CPU time of this process and its children; 0 where there is no /proc.
func (s *session) clientCPU() (sum float64) {
	for _, pid := range append(s.crew.pids(), os.Getpid()) {
		cpu, _, _ := cpuOf(pid) // see above
		sum += cpu
	}
	return sum
}

// seconds returns the time since begin.
func (s *session) seconds() float64 { return time.Since(s.start).Seconds() }

// summary returns what has happened since begin.
func (s *session) summary(t *tally) summary {
	r := summary{
		Command: s.plan.Command, Addr: s.plan.Host, Proto: s.plan.Proto, Processes: len(s.crew.workers),
		Seconds: s.seconds(), Failed: t.Failed, Error: t.Error, ClientCPU: s.clientCPU() - s.client,
	}
	if s.pid > 0 {
		now := s.usage()
		r.Server = &served{
			CPU: max(now.CPU-s.server.CPU, 0), System: max(now.System-s.server.System, 0),
			Waits: max(now.Waits-s.server.Waits, 0), RSSBefore: s.server.RSS, RSSAfter: now.RSS,
			HeapBefore: s.server.Anon, HeapAfter: now.Anon, Threads: now.Threads, Gone: now.RSS == 0,
		}
	}
	return r
}

// timed returns a context that ends with ctx, or after --time. It has no deadline: a dialer that
// knew of one would fail a moment before the end.
func (p *plan) timed(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	if p.Time <= 0 {
		return ctx, cancel
	}
	timer := time.AfterFunc(p.Time, cancel)
	return ctx, func() {
		timer.Stop()
		cancel()
	}
}
