package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/portluck/portluck/cmd/internal/cli"
	"github.com/portluck/portluck/cmd/portluck/internal/chat"
	"github.com/portluck/portluck/handlers/callosum"
	"github.com/spf13/cobra"
)

// slotClient is one run of the command slots.
type slotClient struct {
	servers  []string
	once     bool
	size     int
	interval time.Duration
	time     time.Duration
	say      string
	dialer   callosum.Dialer
	out, err io.Writer
	redraw   bool // out is a terminal

	mu    sync.Mutex
	told  map[string]string // the error last printed of each server
	lines int               // on the terminal, for show to replace
	any   bool              // a server gave a slot
}

func newSlots() *cobra.Command {
	s := slotClient{out: os.Stdout, err: os.Stderr, redraw: cli.IsTerminal(os.Stdout), told: map[string]string{}}
	cmd := &cobra.Command{
		Use:   "slots ADDR...",
		Short: "Show the slots that callosum servers give, as a pool of connections to them",
		Long: `slots keeps connections to the servers at each ADDR, HOST:PORT or HOST for port 4040, and shows which slots they have.
It prefers low slots: it probes a server every --interval, and gives up its highest slot for a lower one. It ends with
Ctrl-C or after --time.

On a port that a server shares with other protocols, a slot takes 2 seconds; with --preface it comes at once.

The exit code is 1 if a server gives no slot with --once, or if none does within --time.`,
		Example: `  portluck slots localhost:4040
  portluck slots --once host1 host2 host3
  portluck slots --say hello localhost:4040      a request every second, on the connection with the lowest slot
  portluck slots --preface localhost:8100        on the port of "portluck serve --slots-on-silence"`,
		Args: cli.Args(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, list []string) error {
			s.servers = list
			if err := s.check(); err != nil {
				return cli.Usage(err)
			}
			if s.once {
				return s.runOnce(cmd.Context())
			}
			return s.run(cmd.Context())
		},
	}
	f := cmd.Flags()
	f.BoolVar(&s.once, "once", false, "print the slot that each server gives now, and end")
	f.IntVar(&s.size, "size", 4, "how many connections to keep; more than 0")
	f.DurationVar(&s.interval, "interval", time.Second, "time between probes, and between requests of --say; more than 0")
	f.DurationVar(&s.time, "time", 0, "end after this long; 0 for no limit")
	f.StringVar(&s.say, "say", "", "send this line as a request every --interval, and print the answer")
	f.BoolVar(&s.dialer.Preface, "preface", false, "begin with a line that says that this is a callosum client, for a port that is shared")
	f.DurationVar(&s.dialer.Timeout, "timeout", dialTime, "how long a server has to answer with a slot; more than 0")
	return cmd
}

func (s *slotClient) check() error {
	for _, addr := range s.servers {
		full := addr
		if _, _, err := net.SplitHostPort(addr); err != nil {
			full = net.JoinHostPort(addr, callosum.DefaultPort)
		}
		if err := checkAddress(full); err != nil || strings.HasPrefix(full, ":") {
			return fmt.Errorf("%q: want HOST:PORT, such as localhost:4040, or HOST", addr)
		}
	}
	switch {
	case s.size <= 0 || s.interval <= 0 || s.dialer.Timeout <= 0:
		return errors.New("--size, --interval and --timeout must be more than 0")
	case s.time < 0:
		return errors.New("--time cannot be negative; 0 means that slots does not end by itself")
	case strings.ContainsAny(s.say, "\r\n"):
		return errors.New("--say must be one line")
	}
	return nil
}

// runOnce prints the slot that each server gives. It fails if one gives none.
func (s *slotClient) runOnce(ctx context.Context) error {
	failed := 0
	for _, addr := range s.servers {
		c, err := s.dialer.Dial(ctx, addr)
		if err != nil {
			failed++
			fmt.Fprintf(s.err, "%s: %v\n", addr, err)
			continue
		}
		fmt.Fprintf(s.out, "%s slot %d\n", addr, c.Slot())
		c.Close()
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d servers gave no slot: are they running, and do they speak callosum? (portluck serve --callosum ADDR)",
			failed, len(s.servers))
	}
	return nil
}

// run keeps a pool until a signal arrives or --time is up.
func (s *slotClient) run(ctx context.Context) error {
	ctx, stop := cli.UntilSignal(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	if s.time > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, s.time)
		defer cancel()
	}
	pool := &callosum.Pool{
		Servers: map[string]string{}, Size: s.size, ProbeInterval: s.interval, Wait: s.interval, Dialer: s.dialer, OnError: s.tell,
	}
	for _, addr := range s.servers {
		pool.Servers[addr] = addr
	}
	var wg sync.WaitGroup
	wg.Go(func() { _ = pool.Run(ctx) }) // ends with ctx
	if s.say != "" {
		wg.Go(func() { s.ask(ctx, pool) }) // ends with ctx
	}
	s.watch(ctx, pool)
	wg.Wait()
	if s.time > 0 && !s.any {
		return errors.New("no server gave a slot: are they running, and do they speak callosum? (portluck serve --callosum ADDR)")
	}
	return nil
}

// watch shows the pool whenever it has changed.
func (s *slotClient) watch(ctx context.Context, pool *callosum.Pool) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	var shown []string
	for {
		members := pool.Members()
		if ctx.Err() != nil {
			return // the pool is closing, its slots were not lost
		}
		var now []string
		for _, m := range members {
			now = append(now, fmt.Sprintf("slot %d of %s", m.Slot, m.Server))
		}
		if !slices.Equal(now, shown) {
			s.show(shown, now)
			shown, s.any = now, true
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// show prints the lines that have gone or come. On a terminal it draws all lines over the old ones.
func (s *slotClient) show(was, is []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.redraw {
		if s.lines > 0 {
			fmt.Fprintf(s.out, "\x1b[%dA\x1b[J", s.lines)
		}
		for _, line := range is {
			fmt.Fprintln(s.out, line)
		}
		s.lines = len(is)
		return
	}
	for _, line := range without(was, is) {
		fmt.Fprintln(s.out, "-", line)
	}
	for _, line := range without(is, was) {
		fmt.Fprintln(s.out, "+", line)
	}
}

// without returns the lines of all less those of minus. Each line of minus removes one line.
func without(all, minus []string) []string {
	minus = slices.Clone(minus)
	return slices.DeleteFunc(slices.Clone(all), func(line string) bool {
		i := slices.Index(minus, line)
		if i >= 0 {
			minus = slices.Delete(minus, i, i+1)
		}
		return i >= 0
	})
}

// tell prints the error of a server, or of --say, unless it is the last one printed for that id.
func (s *slotClient) tell(id string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.told[id] == err.Error() {
		return
	}
	s.told[id] = err.Error()
	s.lines = 0 // the next show draws below
	fmt.Fprintf(s.err, "%s: %v\n", id, err)
}

// maxAnswer is the longest answer to --say, in bytes.
const maxAnswer = 64 << 10

// ask sends the line of --say every interval, and prints the answer.
func (s *slotClient) ask(ctx context.Context, pool *callosum.Pool) {
	tick := time.NewTicker(s.interval)
	defer tick.Stop()
	for {
		err := pool.Do(ctx, func(c *callosum.Conn) error {
			_ = c.SetDeadline(time.Now().Add(s.dialer.Timeout))
			if _, err := io.WriteString(c, s.say+"\n"); err != nil {
				return err
			}
			line, err := bufio.NewReader(io.LimitReader(c, maxAnswer)).ReadString('\n')
			if err != nil {
				return err
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			s.lines = 0
			fmt.Fprintf(s.out, "%d says %s\n", c.Slot(), chat.Clean(strings.TrimRight(line, "\r\n")))
			return c.SetDeadline(time.Time{})
		})
		if err != nil && ctx.Err() == nil && !errors.Is(err, callosum.ErrBusy) {
			s.tell("--say", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
