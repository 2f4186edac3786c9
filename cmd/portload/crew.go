package main

import (
	"context"
	"errors"
	"math"
	"sync"
	"sync/atomic"
)

// spare is the number of descriptors of a process that are not connections.
const spare = 64

// A crew does the work of one plan, in this process or in several.
type crew struct {
	workers []worker
	got     []atomic.Int64 // the last message that all members of each worker have
	news    chan struct{}  // got has changed
}

// hire starts as many workers as conns connections need, with files descriptors for each process.
func hire(p *plan, conns, files int) (*crew, error) {
	n := max((conns-1)/(files-spare)+1, 1)
	c := &crew{got: make([]atomic.Int64, n), news: make(chan struct{}, 1)}
	for i := range n {
		c.got[i].Store(-1)
		w, err := newLabor(p, n > 1, func(seq int64) { c.notify(i, seq) })
		if err != nil {
			c.close()
			return nil, err
		}
		c.workers = append(c.workers, w)
	}
	return c, nil
}

// newLabor returns a worker, in this process or in a child.
func newLabor(p *plan, child bool, notify func(seq int64)) (worker, error) {
	if child {
		return startChild(p, notify)
	}
	return newWorker(p, notify)
}

func (c *crew) notify(i int, seq int64) {
	c.got[i].Store(seq)
	select {
	case c.news <- struct{}{}:
	default: // one is waiting already
	}
}

// reached returns the number of the last message that all members have.
func (c *crew) reached() int64 {
	least := int64(math.MaxInt64)
	for i := range c.got {
		least = min(least, c.got[i].Load())
	}
	return least
}

// do runs s on all workers, each with its share of it, and returns the sum.
func (c *crew) do(ctx context.Context, s step) (tally, error) {
	var wg sync.WaitGroup
	tallies, errs := make([]tally, len(c.workers)), make([]error, len(c.workers))
	for i, w := range c.workers {
		part := s
		part.Conns, part.Count, part.Stuck = c.share(s.Conns, i), c.share(s.Count, i), c.share(s.Stuck, i)
		wg.Go(func() { tallies[i], errs[i] = w.do(ctx, part) }) // ends with the step
	}
	wg.Wait()
	var sum tally
	for _, t := range tallies {
		sum.add(t)
	}
	return sum, errors.Join(errs...)
}

// share returns the part of n that worker i does. It does not shrink as n grows.
func (c *crew) share(n, i int) int {
	part := n / len(c.workers)
	if i < n%len(c.workers) {
		part++
	}
	return part
}

// progress adds up what the workers have done so far.
func (c *crew) progress() (sum tally) {
	for _, w := range c.workers {
		sum.add(w.progress())
	}
	return sum
}

// done returns the number of operations so far.
func (c *crew) done() (n int64) {
	for _, w := range c.workers {
		n += w.progress().Done
	}
	return n
}

func (c *crew) close() {
	for _, w := range c.workers {
		w.close()
	}
}

// pids returns the processes of the children.
func (c *crew) pids() (all []int) {
	for _, w := range c.workers {
		if child, ok := w.(*child); ok {
			all = append(all, child.cmd.Process.Pid)
		}
	}
	return all
}
