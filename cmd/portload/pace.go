package main

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"time"

	"github.com/portluck/portluck/cmd/internal/cli"
)

// maxRate bounds --rate: no server is that fast.
const maxRate = 10_000_000

// checkRate returns an error unless rate is within its bounds.
func checkRate(rate float64) error {
	if rate >= 0 && rate <= maxRate { // false for NaN
		return nil
	}
	return cli.Usage(fmt.Errorf("--rate %v: it is at least 0 and at most %d; leave it out to send as fast as echoes come", rate, maxRate))
}

// A schedule says when each message of a worker is due. The messages are numbered in the order of
// time, and the connections take them in turn.
type schedule struct {
	start time.Time
	every float64 // nanoseconds
	step  int     // from one message of a connection to its next: the number of connections
}

// newSchedule returns a schedule that begins now, for the conns connections of this process: their
// share of the plan's rate.
func newSchedule(p *plan, conns int) *schedule {
	return &schedule{start: time.Now(), every: float64(time.Second) / p.Rate * float64(p.Conns) / float64(conns), step: conns}
}

// at returns when message i is due.
func (s *schedule) at(i int) time.Time {
	return s.start.Add(time.Duration(float64(i) * s.every))
}

// before returns how many messages are due before t.
func (s *schedule) before(t time.Time) int {
	n := int(float64(t.Sub(s.start)) / s.every)
	for s.at(n).Before(t) { // at most once: of the division
		n++
	}
	return n
}

// messages returns the number of messages of a run: at most count, and at most those due within d.
// A count or d of 0 sets no limit.
func (s *schedule) messages(count int, d time.Duration) int {
	n := math.MaxInt
	if d > 0 {
		n = s.before(s.start.Add(d))
	}
	if count > 0 {
		n = min(n, count)
	}
	return n
}

// pace makes the n messages of the schedule due, each at its time, until timed ends. If it is late,
// it skips none. A message that was due and that nobody has sent when timed ends is recorded with
// the time it has waited: to leave it out would hide the longest latencies.
func (w *echoWorker) pace(timed context.Context, s *schedule, n int) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	exactTimers()
	i := 0
	for ; i < n; i++ {
		for d := time.Until(s.at(i)); d > 0 && timed.Err() == nil; d = time.Until(s.at(i)) {
			w.sleep(timed, d)
		}
		if timed.Err() != nil {
			break
		}
		w.pumps[i%len(w.pumps)].launch(1)
	}
	now := time.Now()
	for n = min(n, s.before(now)); i < n; i++ {
		w.unsent(now.Sub(s.at(i)))
	}
	for _, p := range w.pumps {
		if timed.Err() != nil {
			p.stop()
		}
		p.end()
	}
}

// unsent records a message that was due and is not sent.
func (w *echoWorker) unsent(waited time.Duration) {
	w.tally.Latency.record(waited)
	w.skipped.Add(1)
}
