package main

import (
	"context"
	"fmt"
)

// A worker is the load of one process: this one, or a child if one process may not have as many
// connections.
type worker interface {
	// do runs one step and returns what happened in it. The end of ctx ends it early, without an
	// error.
	do(ctx context.Context, s step) (tally, error)
	// progress returns what the step has done so far, for a person to watch: Done, and Latency if
	// there is one, to which the step still adds.
	progress() tally
	// close closes every connection.
	close()
}

// A step is a part of the work that all workers do at the same time.
type step struct {
	Do    string // open, run, burst, alive, finish
	Conns int    // to have when it ends (open)
	Stuck int    // those of Open that never read
	Count int    // messages in all (run), 0 for as many as fit into the time
	Sent  int64  // messages that the publisher has sent (finish)
	Again bool   // another run may follow (finish)
}

// A tally counts what happened in one step. Tallies of several workers add up.
type tally struct {
	Conns    int64 // open now
	Done     int64 // connections that were made and echoes that came
	Failed   int64 // connections or messages that failed
	Error    string
	Closed   int64 // connections that the server has closed
	Unsent   int64 // messages that were due
	Latency  *histogram
	Delivery delivery
}

// fail counts a failure, and keeps the first one for the report.
func (t *tally) fail(err error) {
	t.Failed++
	if t.Error == "" {
		t.Error = err.Error()
	}
}

func (t *tally) add(o tally) {
	t.Conns += o.Conns
	t.Done += o.Done
	t.Failed += o.Failed
	t.Closed += o.Closed
	t.Unsent += o.Unsent
	if t.Error == "" {
		t.Error = o.Error
	}
	if o.Latency != nil {
		if t.Latency == nil {
			t.Latency = &histogram{}
		}
		t.Latency.add(o.Latency)
	}
	t.Delivery.add(o.Delivery)
}

// newWorker returns a worker for the command of p. It calls notify when all its members have
// received message seq.
func newWorker(p *plan, notify func(seq int64)) (worker, error) {
	d, err := newDialer(p)
	if err != nil {
		return nil, err
	}
	switch p.Command {
	case "conn":
		return &connWorker{dialer: d}, nil
	case "echo":
		return &echoWorker{dialer: d, sleep: sleepExactly}, nil
	}
	w, err := newWatcher(p)
	if err != nil {
		return nil, err
	}
	switch p.Command {
	case "idle":
		return &idleWorker{dialer: d, watcher: w}, nil
	case "fanout":
		return newFanoutWorker(d, w, notify), nil
	}
	w.close()
	return nil, fmt.Errorf("no command %q", p.Command)
}
