package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"sync/atomic"
	"time"
)

// childEnv makes portload a child, which does what its standard input says.
const childEnv = "PORTLOAD_CHILD"

// An order is a line from the parent: the plan first, then steps. The child exits at the end of
// its input.
type order struct {
	Plan *plan `json:",omitempty"`
	Step *step `json:",omitempty"`
	Stop bool  `json:",omitempty"` // end the step early
}

// An answer is a line from the child.
type answer struct {
	Tally    *tally `json:",omitempty"` // the step has ended
	Error    string `json:",omitempty"`
	Got      *int64 `json:",omitempty"` // all members have this message
	Progress *tally `json:",omitempty"`
}

// A child is a worker in another process.
type child struct {
	cmd     *exec.Cmd
	in      io.Closer
	orders  *json.Encoder
	answers chan answer // to steps
	wg      sync.WaitGroup
	seen    atomic.Pointer[tally]
}

// startChild starts this program once more.
func startChild(p *plan, notify func(seq int64)) (*child, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c := &child{cmd: exec.Command(exe), answers: make(chan answer, 1)}
	c.cmd.Args = []string{"portload"}
	c.cmd.Env = append(os.Environ(), childEnv+"=1")
	c.cmd.Stderr = os.Stderr
	in, err := c.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	c.in, c.orders = in, json.NewEncoder(in)
	c.wg.Go(func() { c.read(out, notify) }) // ends when the child does
	if err := c.orders.Encode(order{Plan: p}); err != nil {
		c.close()
		return nil, fmt.Errorf("child process: %w", err)
	}
	return c, nil
}

// read handles the lines of the child until it ends.
func (c *child) read(out io.Reader, notify func(seq int64)) {
	defer close(c.answers)
	lines := json.NewDecoder(bufio.NewReader(out))
	for {
		var a answer
		switch err := lines.Decode(&a); {
		case err != nil:
			return
		case a.Got != nil:
			notify(*a.Got)
		case a.Progress != nil:
			c.seen.Store(a.Progress)
		default:
			c.answers <- a
		}
	}
}

func (c *child) do(ctx context.Context, s step) (tally, error) {
	if err := c.orders.Encode(order{Step: &s}); err != nil {
		return tally{}, fmt.Errorf("child process: %w", err)
	}
	var a answer
	var ok bool
	select {
	case a, ok = <-c.answers:
	case <-ctx.Done():
		_ = c.orders.Encode(order{Stop: true}) // if it has died, it does not answer either
		a, ok = <-c.answers
	}
	switch {
	case !ok:
		return tally{}, errors.New("a child process died")
	case a.Error != "":
		return tally{}, errors.New(a.Error)
	}
	return *a.Tally, nil
}

func (c *child) progress() tally {
	if t := c.seen.Load(); t != nil {
		return *t
	}
	return tally{}
}

func (c *child) close() {
	c.in.Close()
	for range c.answers { // until it ends; there is none that somebody waits for
	}
	c.wg.Wait()
	_ = c.cmd.Wait() // it has said what there was to say
}

// runChild is main in a child.
func runChild() int {
	signal.Ignore(os.Interrupt) // Ctrl-C is the parent's: it says when to stop
	if err := obey(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintf(os.Stderr, "portload: child process: %v\n", err)
		return 1
	}
	return 0
}

// A servant carries out the orders of a parent.
type servant struct {
	worker worker
	cancel context.CancelFunc // ends the step
	wg     sync.WaitGroup     // the step

	mu  sync.Mutex
	out *json.Encoder
}

func (s *servant) say(a answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.out.Encode(a) // a parent that is gone has closed our input too
}

// obey carries out the orders in r until r ends.
func obey(r io.Reader, w io.Writer) error {
	orders := json.NewDecoder(r)
	var first order
	if err := orders.Decode(&first); err != nil || first.Plan == nil {
		return fmt.Errorf("no plan: %w", err)
	}
	s := &servant{out: json.NewEncoder(w), cancel: func() {}}
	made, err := newWorker(first.Plan, func(seq int64) { s.say(answer{Got: &seq}) })
	if err != nil {
		return err
	}
	defer made.close()
	s.worker = made
	defer s.end()
	for {
		var o order
		switch err := orders.Decode(&o); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case o.Stop:
			s.cancel()
		case o.Step != nil:
			s.end()
			ctx, cancel := context.WithCancel(context.Background())
			s.cancel = cancel
			s.wg.Go(func() { s.step(ctx, *o.Step) }) // ends with ctx at the latest
		}
	}
}

// end stops the current step and waits for it.
func (s *servant) end() {
	s.cancel()
	s.wg.Wait()
}

// step runs one step and reports its progress.
func (s *servant) step(ctx context.Context, what step) {
	tick := time.NewTicker(progressTime)
	defer tick.Stop()
	done := make(chan answer, 1)
	go func() { // ends with the step; this func waits for its answer
		t, err := s.worker.do(ctx, what)
		a := answer{Tally: &t}
		if err != nil {
			a.Error = err.Error()
		}
		done <- a
	}()
	for {
		select {
		case a := <-done:
			s.say(a)
			return
		case <-tick.C:
			t := s.worker.progress()
			s.say(answer{Progress: &t})
		}
	}
}
